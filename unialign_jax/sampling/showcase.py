"""What a run shows of itself: pictures and captions from its EMA weights.

The first records of the `sample.sources` feature sets are drawn again and
again during training: their prompts (and condition images) as pictures, their
target images as captions or, where a question is given, as answers.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unialign_jax import config as config_lib
from unialign_jax.features import encoders
from unialign_jax.features import null_prompt
from unialign_jax.models import mmdit
from unialign_jax.sampling import grid
from unialign_jax.sampling import image as image_sampling
from unialign_jax.sampling import prompts
from unialign_jax.sampling import text as text_sampling

Batch = dict[str, np.ndarray]
_COLUMNS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
  """The outcome for one source."""

  name: str
  picture_HWC: np.ndarray  # uint8, a grid
  texts: tuple[str, ...]  # "wanted -> got", one a record


class Showcase:
  """Draws the same records whenever it is called.

  Args:
    config: of the run; `config.sample.sources` may not be empty.
    text_encoder: T5 and tokenizer.
    image_encoder: VAE, to decode.
    sources: of each source its name and a batch of its records, as the
      pipeline makes batches.
    mesh: where the parameters live.
  """

  def __init__(
    self,
    config: config_lib.Config,
    text_encoder: encoders.TextEncoder,
    image_encoder: encoders.ImageEncoder,
    sources: Sequence[tuple[str, Batch]],
    mesh: jax.sharding.Mesh,
  ):
    self._config = config
    self._text = text_encoder
    self._image = image_encoder
    self._sources = sources
    self._mesh = mesh
    self._everywhere = jax.NamedSharding(mesh, jax.P())
    self._model = mmdit.MMDiT(config.model)
    null = null_prompt.encode(text_encoder, config.data.text_length)
    self._null = null.features
    self._text_params = jax.device_put(text_encoder.params, self._everywhere)
    self._draw = jax.jit(self._draw_latents, out_shardings=self._everywhere)
    self._write = jax.jit(self._write_tokens, out_shardings=self._everywhere)

  def __call__(self, params: Any) -> list[Shown]:
    """Samples every source; the seed is always the same."""
    return [self._show(params, *source) for source in self._sources]

  def _show(self, params: Any, name: str, batch: Batch) -> Shown:
    cond_BNHWC = batch.get("cond_latents")
    text_BLE = self._text.encode(batch["prompt_ids"])
    latents = self._call(self._draw, params, text_BLE, cond_BNHWC)
    columns = [self._image.decode(np.asarray(latents))]
    if cond_BNHWC is not None:
      columns[:0] = [
        self._image.decode(cond_BNHWC[:, n]) for n in range(cond_BNHWC.shape[1])
      ]
    cells = [
      grid.Cell(prompt, pictures)
      for prompt, *pictures in zip(self._decode(batch["prompt_ids"]), *columns)
    ]
    rows = [cells[i : i + _COLUMNS] for i in range(0, len(cells), _COLUMNS)]
    return Shown(
      name=name,
      picture_HWC=grid.draw(rows),
      texts=self._describe(params, batch),
    )

  def _describe(self, params: Any, batch: Batch) -> tuple[str, ...]:
    """Texts for the clean targets; a question in the record is given."""
    is_given_BL = ~batch["label_mask"]
    tokens = self._call(
      self._write,
      params,
      self._text_params,
      batch["latents_mean"].astype(np.float32),
      batch["caption_ids"],
      is_given_BL,
    )
    got = prompts.decode(
      self._text.tokenizer,
      np.asarray(tokens),
      is_given_BL,
      eos_id=self._text.eos_id,
    )
    wanted = self._decode(batch["caption_ids"])
    return tuple(f"{a} -> {b}" for a, b in zip(wanted, got))

  def _call(self, jitted: Callable[..., jax.Array], *args: Any) -> jax.Array:
    # Attention asks for the mesh: a kernel cannot be partitioned by XLA.
    with jax.set_mesh(self._mesh):
      return jitted(*args)

  def _decode(self, ids_BL: np.ndarray) -> list[str]:
    nothing = np.zeros(ids_BL.shape, bool)
    return prompts.decode(
      self._text.tokenizer, ids_BL, nothing, eos_id=self._text.eos_id
    )

  def _draw_latents(
    self, params: Any, text_BLE: jax.Array, cond_BNHWC: jax.Array | None
  ) -> jax.Array:
    return image_sampling.sample_images(
      self._model.apply,
      params,
      text_BLE,
      jnp.asarray(self._null),
      image_sampling.noise(
        self._keys(text_BLE.shape[0]), self._config.latent_shape
      ),
      cond_BNHWC=cond_BNHWC,
      **self._config.sample.for_images(),
    )

  def _write_tokens(
    self,
    params: Any,
    text_params: Any,
    latents_BHWC: jax.Array,
    ids_BL: jax.Array,
    is_given_BL: jax.Array,
  ) -> jax.Array:
    return text_sampling.sample_text(
      self._model.apply,
      params,
      lambda ids: self._text.model.apply({"params": text_params}, ids),
      latents_BHWC,
      keys_B=self._keys(ids_BL.shape[0]),
      prompt_ids_BL=ids_BL,
      prompt_mask_BL=is_given_BL,
      mask_id=self._text.mask_id,
      **self._config.sample.for_texts(),
    )

  def _keys(self, batch: int) -> jax.Array:
    return jax.random.split(jax.random.key(self._config.seed), batch)
