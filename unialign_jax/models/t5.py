"""The frozen T5 encoder, in Flax: token ids in, text features out.

T5 (arXiv 1910.10683) and T5 v1.1 (arXiv 2002.05202) encoders as published on
the Hugging Face hub: no biases, RMS norm before each sublayer, attention
without the 1/sqrt(K) scale, one table of relative position biases shared by
all layers. Numbers equal `transformers.T5EncoderModel` (tests/parity).

Dimension key: B batch, L text tokens, E text features (`d_model`), N heads,
K head width (`d_kv`), F feed-forward width (`d_ff`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

FEED_FORWARDS = ("relu", "gated-gelu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
  """Shape of an encoder; the names are those of Hugging Face's config.json."""

  vocab_size: int  # rows of the embedding table, often padded: 32128
  d_model: int
  d_kv: int
  d_ff: int
  num_layers: int
  num_heads: int
  feed_forward_proj: str = "relu"  # what config.json means when silent
  relative_attention_num_buckets: int = 32
  relative_attention_max_distance: int = 128
  layer_norm_epsilon: float = 1e-6
  dtype: Any = jnp.float32  # of the activations and the result
  param_dtype: Any = jnp.float32

  def __post_init__(self) -> None:
    if self.feed_forward_proj not in FEED_FORWARDS:
      raise ValueError(
        f"T5 feed_forward_proj is {self.feed_forward_proj!r}, expected one of "
        f"{FEED_FORWARDS}; check config.json of the text encoder."
      )

  @classmethod
  def from_hf(
    cls,
    config: Mapping[str, Any],
    *,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
  ) -> "T5Config":
    """Reads the parsed config.json of a Hugging Face T5 folder.

    Args:
      config: parsed config.json; keys that do not shape the encoder are the
        decoder's or the trainer's and are not read.
      dtype: dtype of the activations.
      param_dtype: dtype in which parameters are held.

    Raises:
      ValueError: not a T5 config, or one that lacks a size.
    """
    if config.get("model_type") != "t5":
      raise ValueError(
        f"The text encoder's config.json has model_type "
        f"{config.get('model_type')!r}, expected 't5'; point the text encoder "
        "at a T5 folder (for SD3: text_encoder_3)."
      )
    fields = {f.name: f for f in dataclasses.fields(cls)}
    sizes = {k: v for k, v in config.items() if k in fields and k != "dtype"}
    missing = [
      name
      for name, field in fields.items()
      if field.default is dataclasses.MISSING and name not in sizes
    ]
    if missing:
      raise ValueError(
        f"The text encoder's config.json lacks {missing}, found "
        f"{sorted(sizes)}; restore the file from its publisher."
      )
    return cls(**sizes, dtype=dtype, param_dtype=param_dtype)


def relative_position_bucket(
  offsets: np.ndarray, num_buckets: int, max_distance: int
) -> np.ndarray:
  """Maps offsets (key position - query position) to bias rows, both ways.

  Half of the buckets serve each sign; within a half, the first half counts
  exactly and the rest grows logarithmically up to `max_distance`. Computed
  in float32, where the floor of the logarithm falls as in PyTorch.
  """
  per_sign = num_buckets // 2
  exact = per_sign // 2
  distance = np.abs(offsets)
  ratio = np.maximum(distance, exact).astype(np.float32) / np.float32(exact)
  scale = np.float32(np.log(max_distance / exact))
  grown = np.log(ratio) / scale * np.float32(per_sign - exact)
  far = np.minimum(exact + grown.astype(np.int32), per_sign - 1)
  near_or_far = np.where(distance < exact, distance, far)
  return near_or_far + per_sign * (offsets > 0)


class RMSNorm(nn.Module):
  """x / rms(x) * scale; the statistics are float32 whatever the dtype."""

  config: T5Config

  @nn.compact
  def __call__(self, x_BLE: jax.Array) -> jax.Array:
    cfg = self.config
    scale_E = self.param(
      "scale", nn.initializers.ones, (x_BLE.shape[-1],), cfg.param_dtype
    )
    x32_BLE = x_BLE.astype(jnp.float32)
    square_BL1 = jnp.mean(jnp.square(x32_BLE), axis=-1, keepdims=True)
    normed_BLE = x32_BLE * jax.lax.rsqrt(square_BL1 + cfg.layer_norm_epsilon)
    scaled_BLE = normed_BLE * scale_E.astype(jnp.float32)[None, None]
    return scaled_BLE.astype(cfg.dtype)


def _dense(cfg: T5Config, features: Any, fan_in: int, **kwargs: Any) -> Any:
  """A T5 projection: no bias, normal(1/fan_in) start."""
  return nn.DenseGeneral(
    features,
    use_bias=False,
    dtype=cfg.dtype,
    param_dtype=cfg.param_dtype,
    kernel_init=nn.initializers.normal(fan_in**-0.5),
    **kwargs,
  )


class SelfAttention(nn.Module):
  """Attention with an additive bias and no 1/sqrt(K); float32 softmax."""

  config: T5Config

  @nn.compact
  def __call__(self, x_BLE: jax.Array, bias_BNLL: jax.Array) -> jax.Array:
    cfg = self.config
    heads = (cfg.num_heads, cfg.d_kv)
    # Without the 1/sqrt(K) of other transformers, the query starts smaller.
    q_BLNK = _dense(cfg, heads, cfg.d_model * cfg.d_kv, name="q")(x_BLE)
    k_BLNK = _dense(cfg, heads, cfg.d_model, name="k")(x_BLE)
    v_BLNK = _dense(cfg, heads, cfg.d_model, name="v")(x_BLE)
    scores_BNLL = jnp.einsum(
      "BQNK,BSNK->BNQS", q_BLNK, k_BLNK, preferred_element_type=jnp.float32
    )
    weights_BNLL = nn.softmax(scores_BNLL + bias_BNLL, axis=-1)
    mixed_BLNK = jnp.einsum(
      "BNQS,BSNK->BQNK", weights_BNLL.astype(cfg.dtype), v_BLNK
    )
    fan_in = cfg.num_heads * cfg.d_kv
    return _dense(cfg, cfg.d_model, fan_in, axis=(-2, -1), name="o")(mixed_BLNK)


class FeedForward(nn.Module):
  """ReLU (T5) or tanh-GELU gated (T5 v1.1) feed-forward."""

  config: T5Config

  @nn.compact
  def __call__(self, x_BLE: jax.Array) -> jax.Array:
    cfg = self.config
    if cfg.feed_forward_proj == "relu":
      hidden_BLF = nn.relu(_dense(cfg, cfg.d_ff, cfg.d_model, name="wi")(x_BLE))
    else:
      gate_BLF = _dense(cfg, cfg.d_ff, cfg.d_model, name="wi_0")(x_BLE)
      value_BLF = _dense(cfg, cfg.d_ff, cfg.d_model, name="wi_1")(x_BLE)
      hidden_BLF = nn.gelu(gate_BLF, approximate=True) * value_BLF
    return _dense(cfg, cfg.d_model, cfg.d_ff, name="wo")(hidden_BLF)


class Layer(nn.Module):
  """One encoder layer, in the (carry, broadcast) form that nn.scan wants."""

  config: T5Config

  @nn.compact
  def __call__(
    self, x_BLE: jax.Array, bias_BNLL: jax.Array
  ) -> tuple[jax.Array, None]:
    cfg = self.config
    normed_BLE = RMSNorm(cfg, name="attention_norm")(x_BLE)
    x_BLE += SelfAttention(cfg, name="attention")(normed_BLE, bias_BNLL)
    normed_BLE = RMSNorm(cfg, name="mlp_norm")(x_BLE)
    x_BLE += FeedForward(cfg, name="mlp")(normed_BLE)
    return x_BLE, None


class T5Encoder(nn.Module):
  """`apply({"params": p}, ids_BL, pad_mask_BL=None)` -> features [B, L, E].

  Parameters of the layers carry a leading layer axis, so the graph of a
  24-layer encoder compiles like that of one layer.
  """

  config: T5Config

  @nn.compact
  def __call__(
    self, ids_BL: jax.Array, pad_mask_BL: jax.Array | None = None
  ) -> jax.Array:
    """Encodes token ids.

    Args:
      ids_BL: integer ids in [0, vocab_size).
      pad_mask_BL: True on real tokens; None attends to every position, which
        is what SD3, Dual Diffusion and this project do.

    Returns:
      Features after the final norm, `[B, L, E]` in `config.dtype`.
    """
    cfg = self.config
    x_BLE = nn.Embed(
      cfg.vocab_size,
      cfg.d_model,
      dtype=cfg.dtype,
      param_dtype=cfg.param_dtype,
      embedding_init=nn.initializers.normal(1.0),
      name="token_embed",
    )(ids_BL)
    bias_BNLL = self._attention_bias(ids_BL.shape[1], pad_mask_BL)
    layers = nn.scan(
      Layer,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      in_axes=nn.broadcast,
      length=cfg.num_layers,
    )
    x_BLE, _ = layers(cfg, name="layers")(x_BLE, bias_BNLL)
    return RMSNorm(cfg, name="final_norm")(x_BLE)

  def _attention_bias(
    self, length: int, pad_mask_BL: jax.Array | None
  ) -> jax.Array:
    """Relative position bias plus padding, float32 `[B or 1, N, L, L]`."""
    cfg = self.config
    table_RN = self.param(
      "relative_bias",
      nn.initializers.normal(cfg.d_model**-0.5),
      (cfg.relative_attention_num_buckets, cfg.num_heads),
      cfg.param_dtype,
    )
    positions_L = np.arange(length)
    buckets_LL = relative_position_bucket(
      positions_L[None, :] - positions_L[:, None],
      cfg.relative_attention_num_buckets,
      cfg.relative_attention_max_distance,
    )
    bias_LLN = jnp.asarray(table_RN, jnp.float32)[buckets_LL]
    bias_1NLL = bias_LLN.transpose(2, 0, 1)[None]
    if pad_mask_BL is None:
      return bias_1NLL
    hidden = jnp.finfo(jnp.float32).min
    return jnp.where(pad_mask_BL[:, None, None, :], bias_1NLL, hidden)
