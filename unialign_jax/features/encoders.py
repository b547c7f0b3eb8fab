"""The frozen encoders as the rest of the project uses them.

Each is loaded from a folder in Hugging Face layout (config.json beside
safetensors, single or sharded), refuses weights that do not fit, runs jitted
on fixed-size batches spread over this host's devices, and has an `identity`
by which a feature set names the encoder that made it.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import pickle
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import transformers

from unialign_jax.convert import mapping
from unialign_jax.convert import t5_table
from unialign_jax.convert import tensors
from unialign_jax.convert import vae_table
from unialign_jax.models import t5
from unialign_jax.models import vae

MASK_TOKEN = "<extra_id_0>"
Path = str | pathlib.Path


def _read_config(folder: Path) -> dict[str, Any]:
  path = pathlib.Path(folder) / "config.json"
  if not path.exists():
    raise ValueError(
      f"Encoder folder {folder} has no config.json; expected a folder in "
      "Hugging Face layout (config.json and safetensors)."
    )
  return json.loads(path.read_text())


def _identity(config: Any, params: Any, *extra: str) -> str:
  """sha256 over configuration and parameters, the same on every machine.

  Not over the precision that it computes in, which may differ between writing
  features and training.
  """
  described = {k: str(v) for k, v in dataclasses.asdict(config).items()}
  del described["dtype"]
  digest = hashlib.sha256(json.dumps([described, extra]).encode())
  leaves = flax.traverse_util.flatten_dict(params, sep="/")
  for name in sorted(leaves):
    leaf = np.ascontiguousarray(leaves[name])
    digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
    digest.update(leaf.view(np.uint8))
  return digest.hexdigest()


def _in_batches(
  function: Callable[[Any, jax.Array], Any],
  params: Any,
  examples: np.ndarray,
  batch_size: int,
) -> Any:
  """`function(params, batch)` over all examples; few batch shapes, so few jits.

  Batches have `batch_size` examples, or for fewer examples the next power of
  two, rounded up to a multiple of the devices that `params` lie on.
  """
  if not len(examples):
    raise ValueError("An encoder got an empty batch, expected >= 1 example.")
  mesh = jax.tree.leaves(params)[0].sharding.mesh
  size = min(batch_size, 1 << (len(examples) - 1).bit_length())
  size = -(-size // mesh.size) * mesh.size
  spread = jax.NamedSharding(mesh, jax.P("batch"))
  outputs = []
  for start in range(0, len(examples), size):
    chunk = examples[start : start + size]
    filler = np.repeat(chunk[-1:], size - len(chunk), axis=0)
    batch = jax.device_put(np.concatenate([chunk, filler]), spread)
    outputs.append(jax.device_get(function(params, batch)))
  return jax.tree.map(
    lambda *parts: np.concatenate(parts)[: len(examples)], *outputs
  )


def _replicated(params: Any) -> Any:
  """A copy of host parameters on every device of this host."""
  devices = np.array(jax.local_devices())
  mesh = jax.sharding.Mesh(devices, ("batch",))
  return jax.device_put(params, jax.NamedSharding(mesh, jax.P()))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TextEncoder:
  """T5 and its tokenizer. Build it with `load`.

  Attributes:
    config: shape and dtypes of the network.
    params: host (numpy) parameters of `model`; to use them inside another
      jitted function, place them yourself.
    tokenizer: the Hugging Face tokenizer, with pad token = EOS.
    identity: sha256 of configuration, weights and vocabulary.
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
    folder: Path,
    tokenizer_folder: Path,
    *,
    mask_embedding: Path | None = None,
    batch_size: int = 32,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
  ) -> "TextEncoder":
    """Loads an encoder and a tokenizer (SD3: text_encoder_3, tokenizer_3).

    Args:
      folder: config.json and model*.safetensors of a T5.
      tokenizer_folder: tokenizer.json and its configuration.
      mask_embedding: .safetensors or .pth file with one row, which replaces
        the input embedding of the mask token (Dual Diffusion publishes one).
      batch_size: most examples a call of the network.
      dtype: of activations and features.
      param_dtype: of the parameters; bfloat16 halves a large encoder.

    Raises:
      ValueError: files missing, or weights, tokenizer or row that do not fit.
    """
    config = t5.T5Config.from_hf(
      _read_config(folder), dtype=dtype, param_dtype=param_dtype
    )
    tokenizer = _load_tokenizer(tokenizer_folder, config)
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    abstract = jax.eval_shape(
      t5.T5Encoder(config).init, jax.random.key(0), ids
    )["params"]
    weights = tensors.Tensors(folder, "model")
    params = mapping.to_flax(t5_table.rules(), weights, abstract)
    if mask_embedding is not None:
      mask_id = tokenizer.convert_tokens_to_ids(MASK_TOKEN)
      table_VE = params["token_embed"]["embedding"]
      table_VE[mask_id] = _read_row(mask_embedding, config.d_model)
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    return cls(
      config=config,
      params=params,
      tokenizer=tokenizer,
      identity=_identity(config, params, vocabulary),
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
    return _in_batches(
      self._apply, self._device_params, np.asarray(ids_BL), self.batch_size
    )

  @functools.cached_property
  def _device_params(self) -> Any:
    return _replicated(self.params)

  @functools.cached_property
  def _apply(self) -> Callable[[Any, jax.Array], jax.Array]:
    return jax.jit(lambda p, ids: self.model.apply({"params": p}, ids))


def _load_tokenizer(folder: Path, config: t5.T5Config) -> Any:
  """A tokenizer with EOS as padding, which the embedding table covers."""
  if not (pathlib.Path(folder) / "tokenizer.json").exists():
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


def _read_row(path: Path, width: int) -> np.ndarray:
  """The only tensor of a .safetensors or .pth file, as `[width]`."""
  path = pathlib.Path(path)
  if path.suffix == ".safetensors":
    found = dict(tensors.Tensors(path.parent, path.stem))
  else:
    found = _read_pth(path)
  if len(found) != 1 or next(iter(found.values())).size != width:
    shapes = {name: tensor.shape for name, tensor in found.items()}
    raise ValueError(
      f"Mask embedding {path} holds {shapes}, expected one tensor of {width} "
      "numbers; it must have been made for this text encoder."
    )
  return next(iter(found.values())).reshape(width)


def _read_pth(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Tensors of a PyTorch file, without running any code that it holds."""
  try:
    import torch
  except ImportError as error:
    raise ValueError(
      f"Reading {path} needs PyTorch; install it (pip install torch), or "
      "save the tensor as .safetensors."
    ) from error
  try:
    loaded = torch.load(path, map_location="cpu", weights_only=True)
  except (pickle.UnpicklingError, RuntimeError) as error:
    raise ValueError(
      f"Cannot read {path} as tensors alone: {error}. Save the row as "
      ".safetensors."
    ) from error
  named = loaded if isinstance(loaded, dict) else {"tensor": loaded}
  return {k: v.detach().float().numpy() for k, v in named.items()}


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
    cls, folder: Path, *, batch_size: int = 8, dtype: Any = jnp.float32
  ) -> "ImageEncoder":
    """Loads a diffusers AutoencoderKL folder (SD3: vae).

    Raises:
      ValueError: files missing, or weights that do not fit config.json.
    """
    config = vae.VAEConfig.from_hf(_read_config(folder), dtype=dtype)
    side = config.downsampling
    image = jax.ShapeDtypeStruct((1, side, side, config.in_channels), dtype)
    abstract = jax.eval_shape(
      vae.AutoencoderKL(config).init, jax.random.key(0), image
    )["params"]
    weights = tensors.Tensors(folder, "diffusion_pytorch_model")
    params = mapping.to_flax(vae_table.rules(), weights, abstract)
    return cls(
      config=config,
      params=params,
      identity=_identity(config, params),
      batch_size=batch_size,
    )

  @property
  def model(self) -> vae.AutoencoderKL:
    return vae.AutoencoderKL(self.config)

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
    return _in_batches(
      self._encode, self._device_params, images_BHWC, self.batch_size
    )

  def decode(self, latents_BHWC: np.ndarray) -> np.ndarray:
    """Scaled latents -> uint8 pictures `[B, H, W, 3]`."""
    return _in_batches(
      self._decode,
      self._device_params,
      np.asarray(latents_BHWC, np.float32),
      self.batch_size,
    )

  @functools.cached_property
  def _device_params(self) -> Any:
    return _replicated(self.params)

  @functools.cached_property
  def _encode(self) -> Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]:
    def encode(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
      pixels = images.astype(jnp.float32) / 127.5 - 1.0
      mean, std = self.model.apply(
        {"params": params}, pixels.astype(self.config.dtype), method="encode"
      )
      mean, std = mean.astype(jnp.float32), std.astype(jnp.float32)
      scaled = vae.scale_latents(mean, self.config)
      return scaled, std * self.config.scaling_factor

    return jax.jit(encode)

  @functools.cached_property
  def _decode(self) -> Callable[[Any, jax.Array], jax.Array]:
    def decode(params: Any, latents: jax.Array) -> jax.Array:
      unscaled = vae.unscale_latents(latents, self.config)
      pixels = self.model.apply(
        {"params": params}, unscaled.astype(self.config.dtype), method="decode"
      )
      levels = (pixels.astype(jnp.float32) + 1.0) * 127.5
      return jnp.clip(jnp.round(levels), 0, 255).astype(jnp.uint8)

    return jax.jit(decode)
