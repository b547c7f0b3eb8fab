"""Attention on TPUs: Pallas' splash kernel, each device on its own part.

A kernel is opaque to the compiler's partitioner, so examples and heads are
shared out by hand, as `sharding.py` shares them: over the axes of the mesh
that is set (`jax.set_mesh`). Head width 64 goes in as it is; padding it to 128
would double work and memory.
"""

import math

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)

from unialign_jax import sharding

# Blocks are whole numbers of these (the width of a TPU register).
_LANES = 128
# Longest block whose backward pass fits the generation's VMEM, in tokens.
_LONGEST = {"TPU v5 lite": 768}
_LONGEST_OTHERS = 1280
_HEADS = "tensor"


def fits(shape: tuple[int, ...], mesh: jax.sharding.AbstractMesh) -> bool:
  """Whether queries of this shape [B, S, N, K] can be shared out."""
  batch, sequence, heads, _ = shape
  examples, head_shares = _shares(mesh)
  return not (sequence % _LANES or batch % examples or heads % head_shares)


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
    q_BSNK: queries.
    k_BSNK: keys.
    v_BSNK: values.
    checkpoint_name: of output and log-sum-exp, for remat policies: saved
      together they spare the backward pass a second forward kernel.
    interpret: run the kernel's own code on any platform, for tests.

  Returns:
    [B, S, N, K] in the dtype of the queries.

  Raises:
    ValueError: a sequence that blocks do not tile, or examples or heads that
      the mesh does not divide.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if not fits(q_BSNK.shape, mesh):
    raise ValueError(
      f"config.model.attention = 'splash': got queries {q_BSNK.shape} on mesh"
      f" {dict(mesh.shape)}, expected a sequence that is a multiple of"
      f" {_LANES}, and examples and heads that their axes divide; change"
      " data.text_length or resolution, or use 'xla'."
    )
  sequence, heads, width = q_BSNK.shape[1:]
  device = None if mesh.empty else mesh.abstract_device
  block = block_size(sequence, device.device_kind if device else "")
  kernel = kernels.make_splash_mha(
    masks.MultiHeadMask(
      [masks.FullMask((sequence, sequence))] * (heads // _shares(mesh)[1])
    ),
    block_sizes=kernels.BlockSizes(
      **{
        name: block
        for name in (
          *("block_q", "block_kv", "block_kv_compute"),
          *("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"),
          *("block_q_dq", "block_kv_dq"),
        )
      }
    ),
    head_shards=1,
    q_seq_shards=1,
    residual_checkpoint_name=checkpoint_name,
    interpret=interpret,
  )

  def own_part(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    # The kernel does not scale.
    return jax.vmap(kernel)(q * width**-0.5, k, v)

  if not mesh.empty:
    spec = jax.P(*sharding.BATCH, _HEADS)
    own_part = jax.shard_map(
      own_part, in_specs=(spec,) * 3, out_specs=spec, check_vma=False
    )
  # [B, N, S, K] inside.
  q, k, v = (x.swapaxes(1, 2) for x in (q_BSNK, k_BSNK, v_BSNK))
  return own_part(q, k, v).swapaxes(1, 2)


def _shares(mesh: jax.sharding.AbstractMesh) -> tuple[int, int]:
  """Into how many parts examples and heads are split."""
  if mesh.empty:
    return 1, 1
  (axes,) = sharding.BATCH
  return math.prod(mesh.shape[axis] for axis in axes), mesh.shape[_HEADS]
