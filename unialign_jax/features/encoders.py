"""The frozen encoders as the rest of the project uses them.

Each is loaded from a folder in Hugging Face layout (config.json beside
safetensors, single or sharded) or from the hub (`hub`), refuses weights that do
not fit, runs jitted on fixed-size batches spread over this host's devices
(`placement`), and has an `identity` by which a feature set names the encoder
that made it.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import transformers

from unialign_jax.convert import mapping
from unialign_jax.convert import t5_table
from unialign_jax.convert import tensors
from unialign_jax.convert import vae_table
from unialign_jax.features import hub
from unialign_jax.features import identity as identity_lib
from unialign_jax.features import mask_row
from unialign_jax.features import placement
from unialign_jax.models import t5
from unialign_jax.models import vae

MASK_TOKEN = "<extra_id_0>"


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / "config.json"
  if not path.exists():
    raise ValueError(
      f"Encoder folder {folder} has no config.json; expected a folder in "
      "Hugging Face layout (config.json and safetensors)."
    )
  return tensors.read_json(path)


def _described(config: Any) -> dict[str, str]:
  """What of a configuration belongs to the identity: all but precision."""
  described = {k: str(v) for k, v in dataclasses.asdict(config).items()}
  del described["dtype"], described["param_dtype"]
  return described


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TextEncoder:
  """T5 and its tokenizer. Build it with `load`.

  Attributes:
    config: shape and dtypes of the network.
    params: host (numpy) parameters of `model`; to use them inside another
      jitted function, place them yourself.
    tokenizer: the Hugging Face tokenizer, with pad token = EOS.
    identity: sha256 of configuration, published weights, mask embedding and
      vocabulary; the same in every precision.
    batch_size: examples a call of the network.
  """

  config: t5.T5Config
  params: Any
  tokenizer: Any
  identity: str
  batch_size: int

  @classmethod
  def load(
    cls,
    folder: hub.Path,
    tokenizer_folder: hub.Path,
    *,
    mask_embedding: hub.Path | None = None,
    batch_size: int = 32,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
  ) -> "TextEncoder":
    """Loads an encoder and a tokenizer (SD3: text_encoder_3, tokenizer_3).

    Args:
      folder: folder or hub id of config.json and model*.safetensors of a T5.
      tokenizer_folder: folder or hub id of tokenizer.json and its
        configuration.
      mask_embedding: .safetensors or .pth file with one row, which replaces
        the input embedding of the mask token (Dual Diffusion publishes one).
      batch_size: most examples a call of the network.
      dtype: of activations and features.
      param_dtype: of the parameters; bfloat16 halves a large encoder.

    Raises:
      ValueError: files missing, or weights, tokenizer or row that do not fit.
    """
    found = hub.weights(folder, stem="model")
    config = t5.T5Config.from_hf(
      _read_config(found), dtype=dtype, param_dtype=param_dtype
    )
    tokenizer = _load_tokenizer(tokenizer_folder, config)
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    abstract = jax.eval_shape(
      t5.T5Encoder(config).init, jax.random.key(0), ids
    )["params"]
    weights = identity_lib.Hashed(tensors.Tensors(found, "model"))
    params = mapping.to_flax(t5_table.rules(), weights, abstract)
    digests = weights.digests
    if mask_embedding is not None:
      row_E = mask_row.read(mask_embedding, config.d_model)
      digests["mask embedding"] = identity_lib.tensor_digest(row_E)
      mask_id = tokenizer.convert_tokens_to_ids(MASK_TOKEN)
      params["token_embed"]["embedding"][mask_id] = row_E
    vocabulary = sorted(tokenizer.get_vocab().items())
    return cls(
      config=config,
      params=params,
      tokenizer=tokenizer,
      identity=identity_lib.of([_described(config), vocabulary], digests),
      batch_size=batch_size,
    )

  @property
  def model(self) -> t5.T5Encoder:
    return t5.T5Encoder(self.config)

  @property
  def mask_id(self) -> int:
    return self.tokenizer.convert_tokens_to_ids(MASK_TOKEN)

  @property
  def eos_id(self) -> int:
    return self.tokenizer.eos_token_id

  @property
  def vocab_size(self) -> int:
    """Width of the logits: ids the tokenizer knows, not rows of the table."""
    return len(self.tokenizer)

  def tokenise(self, texts: Sequence[str], length: int) -> np.ndarray:
    """Texts -> int32 ids `[B, length]`: text, EOS, EOS as padding.

    A text that is too long is cut so that it still ends in EOS.
    """
    encoded = self.tokenizer(
      list(texts), padding="max_length", max_length=length, truncation=True
    )
    return np.asarray(encoded["input_ids"], np.int32)

  def encode(self, ids_BL: np.ndarray) -> np.ndarray:
    """Ids -> features `[B, L, E]` in `config.dtype`; padding is attended."""
    return placement.in_batches(
      self._apply, self._device_params, np.asarray(ids_BL), self.batch_size
    )

  @functools.cached_property
  def _device_params(self) -> Any:
    return placement.shared(self.params)

  @functools.cached_property
  def _apply(self) -> Callable[[Any, jax.Array], jax.Array]:
    spread = jax.NamedSharding(placement.local_mesh(), jax.P(placement.AXIS))
    return jax.jit(
      placement.keep_apart(
        lambda params, ids: self.model.apply({"params": params}, ids), spread
      ),
      out_shardings=spread,
    )


def _load_tokenizer(name: hub.Path, config: t5.T5Config) -> Any:
  """A tokenizer with EOS as padding, which the embedding table covers."""
  folder = hub.folder(name, files=hub.TOKENIZER)
  if not (folder / "tokenizer.json").exists():
    raise ValueError(
      f"Tokenizer folder {folder} has no tokenizer.json; save the tokenizer "
      "once with `transformers` (`save_pretrained`)."
    )
  tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
  if tokenizer.eos_token is None or MASK_TOKEN not in tokenizer.get_vocab():
    raise ValueError(
      f"Tokenizer {folder} has EOS {tokenizer.eos_token!r}, expected one, and "
      f"{MASK_TOKEN!r} in its vocabulary; use a T5 tokenizer."
    )
  if len(tokenizer) > config.vocab_size:
    raise ValueError(
      f"Tokenizer {folder} has {len(tokenizer)} tokens, expected at most the "
      f"encoder's {config.vocab_size}; pair the folders of one model."
    )
  tokenizer.pad_token = tokenizer.eos_token
  return tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageEncoder:
  """The autoencoder between uint8 pictures and scaled latents.

  Attributes: as in `TextEncoder`.
  """

  config: vae.VAEConfig
  params: Any
  identity: str
  batch_size: int

  @classmethod
  def load(
    cls,
    folder: hub.Path,
    *,
    batch_size: int = 8,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
  ) -> "ImageEncoder":
    """Loads a diffusers AutoencoderKL (SD3: vae), by folder or hub id.

    Raises:
      ValueError: files missing, or weights that do not fit config.json.
    """
    found = hub.weights(folder, stem="diffusion_pytorch_model")
    config = vae.VAEConfig.from_hf(
      _read_config(found), dtype=dtype, param_dtype=param_dtype
    )
    side = config.downsampling
    image = jax.ShapeDtypeStruct((1, side, side, config.in_channels), dtype)
    abstract = jax.eval_shape(
      vae.AutoencoderKL(config).init, jax.random.key(0), image
    )["params"]
    weights = identity_lib.Hashed(
      tensors.Tensors(found, "diffusion_pytorch_model")
    )
    params = mapping.to_flax(vae_table.rules(), weights, abstract)
    return cls(
      config=config,
      params=params,
      identity=identity_lib.of(_described(config), weights.digests),
      batch_size=batch_size,
    )

  @property
  def model(self) -> vae.AutoencoderKL:
    return vae.AutoencoderKL(self.config)

  def _apply(self, params: Any, value: jax.Array, method: str) -> Any:
    value = value.astype(self.config.dtype)
    return self.model.apply({"params": params}, value, method=method)

  def encode(self, images_BHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 pictures -> mean and std of the scaled posterior, float32.

    Raises:
      ValueError: not uint8 `[B, H, W, 3]`, or sides that do not divide.
    """
    images_BHWC = np.asarray(images_BHWC)
    if images_BHWC.dtype != np.uint8 or images_BHWC.ndim != 4:
      raise ValueError(
        f"ImageEncoder.encode got {images_BHWC.dtype} {images_BHWC.shape}, "
        "expected uint8 [B, H, W, 3]."
      )
    return placement.in_batches(
      self._encode, self._device_params, images_BHWC, self.batch_size
    )

  def decode(self, latents_BHWC: np.ndarray) -> np.ndarray:
    """Scaled latents -> uint8 pictures `[B, H, W, 3]`."""
    return placement.in_batches(
      self._decode,
      self._device_params,
      np.asarray(latents_BHWC, np.float32),
      self.batch_size,
    )

  @functools.cached_property
  def _device_params(self) -> Any:
    return placement.repeated(self.params)

  @functools.cached_property
  def _encode(self) -> Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]:
    def encode(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
      pixels = images.astype(jnp.float32) / 127.5 - 1.0
      mean, std = self._apply(params, pixels, "encode")
      mean, std = mean.astype(jnp.float32), std.astype(jnp.float32)
      scaled = vae.scale_latents(mean, self.config)
      return scaled, std * self.config.scaling_factor

    return jax.jit(encode)

  @functools.cached_property
  def _decode(self) -> Callable[[Any, jax.Array], jax.Array]:
    def decode(params: Any, latents: jax.Array) -> jax.Array:
      unscaled = vae.unscale_latents(latents, self.config)
      pixels = self._apply(params, unscaled, "decode")
      levels = (pixels.astype(jnp.float32) + 1.0) * 127.5
      return jnp.clip(jnp.round(levels), 0, 255).astype(jnp.uint8)

    return jax.jit(decode)
