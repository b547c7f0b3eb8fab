"""Semantic features of Qwen2.5-VL: the targets of the intrinsic alignment loss.

Only two parts of the model are read and held, by tensor name out of the
safetensors: the vision tower with its merger, and the table of input
embeddings. For Qwen2.5-VL-7B these are 676,550,144 parameters on the device
(1.35 GB in bfloat16, 2.71 GB in float32) and a table of 152064 x 3584 that
stays in host memory as published (1.09 GB in bfloat16), out of 16.6 GB; from
the hub only the shards with these tensors are fetched.

Runs through `transformers` and PyTorch, the extra `[encoders]`. Pictures are
prepared by the Pillow form of the model's own processor, whose numbers do not
depend on whether torchvision is there. JAX reserves most of a GPU's memory when
it starts: to share a GPU with it, set XLA_PYTHON_CLIENT_PREALLOCATE=false.

Dimension key: B batch, T tokens of the diffusion transformer's grid, E = 3584
(`dim`), V vocabulary.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from unialign_jax.data import sample as sample_lib
from unialign_jax.features import hub
from unialign_jax.features import identity as identity_lib
from unialign_jax.features import qwen_parts

_CONFIG_KEYS = (  # of the vision tower; what its numbers depend on
  "depth",
  "fullatt_block_indexes",
  "hidden_act",
  "hidden_size",
  "in_channels",
  "intermediate_size",
  "num_heads",
  "out_hidden_size",
  "patch_size",
  "spatial_merge_size",
  "temporal_patch_size",
  "window_size",
)
_PICTURE_KEYS = (  # of the processor
  "do_normalize",
  "do_rescale",
  "do_resize",
  "image_mean",
  "image_std",
  "merge_size",
  "patch_size",
  "resample",
  "rescale_factor",
  "temporal_patch_size",
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QwenFeatures:
  """Maps samples to (h_image, h_text), float32. Build it with `load`.

  Attributes:
    tower: the vision tower, on its device.
    table_VE: the input embeddings, in host memory.
    tokenizer: of the captions.
    processor: of the pictures.
    identity: sha256 of published weights, vocabulary, preparation of pictures
      and `patches`; the same in every precision, and for both ways in which
      published files name the tensors.
    batch_size: pictures a call of the tower.
    patches: (rows, columns) of the grid wanted, None for the average.
  """

  tower: Any
  table_VE: Any
  tokenizer: Any
  processor: Any
  identity: str
  batch_size: int
  patches: tuple[int, int] | None

  @classmethod
  def load(
    cls,
    folder: hub.Path,
    *,
    subfolder: str = "",
    device: str = "auto",
    dtype: Any = jnp.float32,
    batch_size: int = 8,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    patches: tuple[int, int] | None = None,
  ) -> "QwenFeatures":
    """Loads the two parts of a Qwen2.5-VL.

    Args:
      folder: folder or hub id, such as "Qwen/Qwen2.5-VL-7B-Instruct".
      subfolder: inside of it.
      device: PyTorch's name of the tower's device; "auto" is the accelerator
        that PyTorch has, or else the CPU.
      dtype: of the tower's parameters and activations; bfloat16, as published,
        on accelerators.
      batch_size: most pictures a call of the tower.
      min_pixels: pictures smaller than that are enlarged before they are cut
        into patches; None as published.
      max_pixels: pictures larger than that are reduced; None as published.
      patches: (rows, columns) of a token grid, to get features by patch.

    Raises:
      ValueError: PyTorch missing, files missing, or weights that do not fit.
    """
    qwen_parts.pytorch()
    found = hub.weights(
      folder,
      subfolder,
      stem="model",
      wanted=qwen_parts.WANTED,
      files=("config.json", *qwen_parts.PICTURE_FILES, *hub.TOKENIZER),
    )
    config = qwen_parts.read_config(found)
    processor = qwen_parts.load_processor(found, min_pixels, max_pixels)
    vision, table_VE = qwen_parts.read(found)
    tokenizer = qwen_parts.load_tokenizer(found, len(table_VE))
    digests = {
      name: identity_lib.tensor_digest(qwen_parts.bits(tensor))
      for name, tensor in (*vision.items(), ("table", table_VE))
    }
    size = processor.size
    settings = [
      {key: getattr(config, key) for key in _CONFIG_KEYS},
      {key: getattr(processor, key) for key in _PICTURE_KEYS},
      [size["shortest_edge"], size["longest_edge"]],
      sorted(tokenizer.get_vocab().items()),
      patches,
    ]
    return cls(
      tower=qwen_parts.build(config, vision, device, dtype),
      table_VE=table_VE,
      tokenizer=tokenizer,
      processor=processor,
      identity=identity_lib.of(settings, digests),
      batch_size=batch_size,
      patches=patches,
    )

  @property
  def dim(self) -> int:
    """E."""
    return self.table_VE.shape[1]

  @property
  def tokens(self) -> int:
    """T of h_image by patch, 0 where it is averaged."""
    return self.patches[0] * self.patches[1] if self.patches else 0

  def __call__(
    self, samples: Sequence[sample_lib.Sample]
  ) -> tuple[np.ndarray, np.ndarray]:
    """Features of the target pictures and of the captions.

    Returns:
      h_image, the merged vision tokens averaged, `[B, E]`, or with `patches`
      the tokens on that grid, row by row, `[B, T, E]`; and h_text, the input
      embeddings of the caption's tokens averaged, `[B, E]`.

    Raises:
      ValueError: no samples, or one without a caption.
    """
    if not samples:
      raise ValueError("QwenFeatures got no samples, expected >= 1.")
    images = [sample.target_image for sample in samples]
    parts = [
      self._images(images[start : start + self.batch_size])
      for start in range(0, len(images), self.batch_size)
    ]
    return np.concatenate(parts), np.stack([self._text(s) for s in samples])

  def _images(self, images: Sequence[np.ndarray]) -> np.ndarray:
    torch = qwen_parts.pytorch()
    prepared = self.processor(
      images=list(images),
      return_tensors="pt",
      input_data_format="channels_last",
    )
    grid_B3 = prepared["image_grid_thw"]
    with torch.inference_mode():
      tokens = self.tower(
        prepared["pixel_values"].to(self.tower.device, self.tower.dtype),
        grid_thw=grid_B3.to(self.tower.device),
      ).pooler_output.float()
      merge = self.tower.spatial_merge_size
      grids = [(int(h) // merge, int(w) // merge) for _, h, w in grid_B3]
      features = [
        self._pooled(part, grid)
        for part, grid in zip(tokens.split([h * w for h, w in grids]), grids)
      ]
      return torch.stack(features).cpu().numpy()

  def _pooled(self, tokens_SE: Any, grid: tuple[int, int]) -> Any:
    """One picture's merged tokens, averaged or brought to `patches`.

    Alignment by token, as in REPA (arXiv 2410.06940), needs one feature for
    each token of the transformer, over the same part of the picture. So the
    grid is resized bilinearly, between the centres of its cells; to a coarser
    grid the triangles widen, so that every token counts. An equal grid stays
    as it is: 512 x 512 pixels give 18 x 18 tokens as published, and 32 x 32
    with min_pixels = max_pixels = 896 * 896, at about three times the work.
    """
    if self.patches is None:
      return tokens_SE.mean(0)
    map_1Ehw = tokens_SE.T.reshape(1, -1, *grid)
    resized_1Ehw = qwen_parts.pytorch().nn.functional.interpolate(
      map_1Ehw, self.patches, mode="bilinear", antialias=True
    )
    return resized_1Ehw[0].flatten(1).T

  def _text(self, sample: sample_lib.Sample) -> np.ndarray:
    ids = self.tokenizer(sample.caption)["input_ids"]
    if not ids:
      raise ValueError(
        f"Sample {sample.key!r} of {sample.source!r} has no caption, expected"
        " one to take h_text from; fill it in, or leave the sample out."
      )
    return self.table_VE[ids].float().mean(0).numpy()
