"""Attention on TPUs: Pallas' splash kernel, on what one device has.

Head width 64 goes in as it is; padding it to 128 would double work and memory.
"""

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)

# Blocks are whole numbers of these (the width of a TPU register).
_LANES = 128
# Longest block whose backward pass fits the generation's VMEM, in tokens.
_LONGEST = {"TPU v5 lite": 768}
_LONGEST_OTHERS = 1280


def fits(num_tokens: int) -> bool:
  """Whether blocks tile the queries of one device."""
  return num_tokens % _LANES == 0


def check(num_tokens: int, divides: bool) -> None:
  """Refuses what the kernel cannot compute.

  Args:
    num_tokens: of the queries of one device.
    divides: whether the mesh divides examples, tokens and heads.

  Raises:
    ValueError: one of both.
  """
  if not (divides and fits(num_tokens)):
    raise ValueError(
      f"config.model.attention = 'splash': got {num_tokens} tokens a device"
      f" on mesh {dict(jax.sharding.get_abstract_mesh().shape)}, expected a"
      f" multiple of {_LANES}, and examples, tokens and heads that their axes"
      " divide; change data.text_length or data.resolution, or use 'xla'."
    )


def block_size(sequence: int, device_kind: str) -> int:
  """Tokens of a block: the longest that divides the sequence and fits.

  1280 tokens are one block on v5p and v6e and two on v5e; 2304 are two of
  1152, or three of 768.
  """
  longest = _LONGEST.get(device_kind, _LONGEST_OTHERS)
  return max(
    block
    for block in range(_LANES, sequence + 1, _LANES)
    if sequence % block == 0 and block <= longest
  )


def attention(
  q_BSNK: jax.Array,
  k_BSNK: jax.Array,
  v_BSNK: jax.Array,
  *,
  checkpoint_name: str,
  interpret: bool = False,
) -> jax.Array:
  """Softmax attention without a mask, scaled by 1/sqrt(K).

  Args:
    q_BSNK: queries of one device.
    k_BSNK: keys, of all that they meet.
    v_BSNK: values.
    checkpoint_name: of output and log-sum-exp, for remat policies: saved
      together they spare the backward pass a second forward kernel.
    interpret: run the kernel's own code on any platform, for tests.

  Returns:
    [B, S, N, K] in the dtype of the queries.
  """
  mesh = jax.sharding.get_abstract_mesh()
  device = None if mesh.empty else mesh.abstract_device
  queries, keys, heads = q_BSNK.shape[1], k_BSNK.shape[1], q_BSNK.shape[2]
  block_q, block_kv = (
    block_size(n, device.device_kind if device else "") for n in (queries, keys)
  )
  kernel = kernels.make_splash_mha(
    masks.MultiHeadMask([masks.FullMask((queries, keys))] * heads),
    block_sizes=kernels.BlockSizes(
      **dict.fromkeys(("block_q", "block_q_dkv", "block_q_dq"), block_q),
      **dict.fromkeys(
        (
          *("block_kv", "block_kv_compute", "block_kv_dq"),
          *("block_kv_dkv", "block_kv_dkv_compute"),
        ),
        block_kv,
      ),
    ),
    head_shards=1,
    q_seq_shards=1,
    residual_checkpoint_name=checkpoint_name,
    interpret=interpret,
  )
  # [B, N, S, K] inside; the kernel does not scale.
  q, k, v = (x.swapaxes(1, 2) for x in (q_BSNK, k_BSNK, v_BSNK))
  return jax.vmap(kernel)(q * q.shape[-1] ** -0.5, k, v).swapaxes(1, 2)
