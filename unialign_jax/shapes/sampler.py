"""Pictures and texts of a trained network, for Shapes samples."""

import functools
import itertools
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unialign_jax import config as config_lib
from unialign_jax.features import encoders
from unialign_jax.features import null_prompt
from unialign_jax.models import mmdit
from unialign_jax.sampling import image as image_sampling
from unialign_jax.sampling import prompts
from unialign_jax.sampling import text as text_sampling


class Sampler:
  """Draws and writes as `config.sample` says, in batches of one size.

  Parameters are arguments, so networks of one shape share what is compiled.

  Args:
    config: of the run.
    batch_size: examples that go through the network at once.

  Raises:
    ValueError: encoder folders that are missing or do not fit.
  """

  def __init__(self, config: config_lib.Config, batch_size: int = 32):
    self._length = config.data.text_length
    self._batch_size = batch_size
    self._text = encoders.TextEncoder.load(
      config.encoders.text, config.encoders.tokenizer, batch_size=batch_size
    )
    self._image = encoders.ImageEncoder.load(
      config.encoders.image, batch_size=batch_size
    )
    self._text_params = jax.device_put(self._text.params)
    self._null_LE = jnp.asarray(
      null_prompt.encode(self._text, self._length).features
    )
    model = mmdit.MMDiT(config.model)
    self._draw_latents = jax.jit(
      functools.partial(
        image_sampling.sample_images,
        model.apply,
        **config.sample.for_images(),
      )
    )
    self._latent_shape = config.latent_shape
    self._write_ids = text_sampling.make_sampler(
      model.apply,
      lambda params, ids: self._text.model.apply({"params": params}, ids),
      mask_id=self._text.mask_id,
      **config.sample.for_texts(),
    )

  def draw(
    self,
    params: Any,
    texts: Sequence[str],
    conditions: Sequence[Sequence[np.ndarray]] = (),
    *,
    seed: int = 0,
  ) -> np.ndarray:
    """Pictures uint8 [B, H, W, 3].

    Args:
      params: of the network.
      texts: prompts or instructions.
      conditions: uint8 pictures of each text, equally many; empty for none.
      seed: of the noise.
    """
    drawn = []
    for number, rows in enumerate(self._batches(len(texts))):
      ids_BL = self._text.tokenise([texts[i] for i in rows], self._length)
      latents_BHWC = self._draw_latents(
        params,
        self._text.encode(ids_BL),
        self._null_LE,
        image_sampling.noise(self._keys(seed, number), self._latent_shape),
        cond_BNHWC=self._encode([conditions[i] for i in rows])
        if conditions
        else None,
      )
      drawn.append(self._image.decode(np.asarray(latents_BHWC)))
    return np.concatenate(drawn)[: len(texts)]

  def write(
    self,
    params: Any,
    pictures: Sequence[np.ndarray],
    questions: Sequence[str] = (),
    *,
    seed: int = 0,
  ) -> list[str]:
    """Captions of uint8 pictures, or answers to a question about each."""
    texts = []
    for number, rows in enumerate(self._batches(len(pictures))):
      asked = [questions[i] for i in rows] if questions else []
      ids_BL, is_given_BL = self._prompt(asked)
      written_BL = self._write_ids(
        params,
        self._text_params,
        self._encode([[pictures[i]] for i in rows])[:, 0],
        self._keys(seed, number),
        ids_BL,
        is_given_BL,
      )
      texts += self._decode(np.asarray(written_BL), is_given_BL)
    return texts[: len(pictures)]

  def as_written(self, texts: Sequence[str]) -> list[str]:
    """Texts through the tokenizer and back: as `write` would spell them."""
    ids_BL = self._text.tokenise(texts, self._length)
    return self._decode(ids_BL, np.zeros(ids_BL.shape, bool))

  def _keys(self, seed: int, number: int) -> jax.Array:
    """One a row of batch `number`."""
    key = jax.random.fold_in(jax.random.key(seed), number)
    return jax.random.split(key, self._batch_size)

  def _prompt(self, questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    eos_id = self._text.eos_id
    if not questions:
      return prompts.caption_prompt(
        self._batch_size, self._length, eos_id=eos_id
      )
    return prompts.answer_prompt(
      self._text.tokenise, questions, self._length, eos_id=eos_id
    )

  def _decode(self, ids_BL: np.ndarray, is_given_BL: np.ndarray) -> list[str]:
    eos_id = self._text.eos_id
    return prompts.decode(
      self._text.tokenizer, ids_BL, is_given_BL, eos_id=eos_id
    )

  def _encode(self, pictures: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Latents [B, N, H, W, C] of N pictures an example."""
    flat_BHWC = np.stack(list(itertools.chain(*pictures)))
    mean_BHWC, _ = self._image.encode(flat_BHWC)
    return mean_BHWC.reshape(len(pictures), -1, *mean_BHWC.shape[1:])

  def _batches(self, count: int) -> Iterator[np.ndarray]:
    """Row numbers of each batch; the last row fills the last batch up."""
    for start in range(0, count, self._batch_size):
      rows = np.arange(start, start + self._batch_size)
      yield np.minimum(rows, count - 1)
