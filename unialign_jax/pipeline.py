"""The model in use: every task of the paper, from Python.

    import unialign_jax as ua
    pipe = ua.Pipeline.load("runs/shapes/run")
    pipe.generate("a red circle", n=4)                  # 4 Pillow images
    pipe.edit(picture, "make the circle blue")
    pipe.perceive(picture, "depth")
    pipe.personalise([cat, hat], "the cat wears the hat")
    pipe.caption(picture)
    pipe.answer(picture, "how many circles are there?")

All of them are `draw` or `write` with requests: editing, perception and
personalisation are generation with condition images, an answer is a caption
with a beginning. Requests that differ in text, seed or negative prompt go
through the network together.
"""

import os
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from unialign_jax.data.sources import paraphrases
from unialign_jax.sampling import prompts
from unialign_jax.use import compile_cache
from unialign_jax.use import loading
from unialign_jax.use import networks as networks_lib
from unialign_jax.use import pictures_in
from unialign_jax.use import requests
from unialign_jax.use import settings as settings_lib
from unialign_jax.use import texts as texts_lib

Picture = pictures_in.Picture
Drawing = requests.Drawing
Writing = requests.Writing


class Pipeline:
  """A model and its encoders on devices. Build it with `load`.

  Args:
    loaded: the model.
    mesh: of `sharding.make_mesh`; None for the devices of this host.
    batch_size: most examples that go through the network at once.
    framing: how pictures become squares: "crop", "pad" or "squash".

  Attributes:
    image_settings: defaults of pictures; every method that draws takes their
      names as keyword arguments (`ImageSettings`).
    text_settings: defaults of texts (`TextSettings`), likewise.
    texts: what tokenises prompts; it says what would be cut off one.
  """

  def __init__(
    self,
    loaded: loading.Loaded,
    *,
    mesh: jax.sharding.Mesh | None = None,
    batch_size: int = 8,
    framing: str = "crop",
  ):
    if batch_size < 1:
      raise ValueError(f"batch_size: got {batch_size}, expected at least 1.")
    self.image_settings = loaded.for_images
    self.text_settings = loaded.for_texts
    self._text, self._image = loaded.text, loaded.image
    self._length = loaded.text_length
    self._framing = framing
    self._networks = networks_lib.Networks(
      loaded, networks_lib.local_mesh() if mesh is None else mesh
    )
    shares = self._networks.shares
    self.batch_size = -(-batch_size // shares) * shares
    self.texts = texts_lib.Texts(loaded.text, self._length, self._encode_text)

  @classmethod
  def load(
    cls,
    path: str | os.PathLike,
    dtype: str | None = None,
    mesh: jax.sharding.Mesh | None = None,
    *,
    step: int | None = None,
    ema: bool = True,
    text: str = "",
    tokenizer: str = "",
    image: str = "",
    batch_size: int = 8,
    framing: str = "crop",
    quantize: str | None = None,
  ) -> "Pipeline":
    """Loads a workdir, an exported folder, or the hub id of one.

    Args:
      path: which.
      dtype: "float32" or "bfloat16", of activations, T5 and, below float32,
        parameters; None for that of the run or the files.
      mesh: as `Pipeline` has it.
      step: which checkpoint of a workdir; None for the latest.
      ema: averaged weights of a workdir, or the trained ones.
      text: folder or hub id of T5, where the model's own will not do.
      tokenizer: of its tokenizer.
      image: of the VAE.
      batch_size: as `Pipeline` has it.
      framing: as `Pipeline` has it.
      quantize: "int8" or "fp8", of the large products (docs/precision.md).

    Raises:
      ValueError: files missing, or parts that do not fit each other.
    """
    compile_cache.enable()
    encoders = {"text": text, "tokenizer": tokenizer, "image": image}
    which = {"step": step, "ema": ema, "quantize": quantize}
    loaded = loading.load_all(path, dtype=dtype, encoders=encoders, **which)
    return cls(loaded, mesh=mesh, batch_size=batch_size, framing=framing)

  @property
  def num_compiled(self) -> int:
    """Functions of text and network compiled so far, one a shape."""
    return self._networks.num_compiled

  def generate(
    self,
    prompt: str | Sequence[str],
    *,
    n: int = 1,
    seed: int = 0,
    negative: str = "",
    **settings: Any,
  ) -> list[Image.Image]:
    """Pictures of a prompt, or of several.

    Args:
      prompt: one or more.
      n: pictures of each; picture k has the seed `seed + k`.
      seed: of the first picture of each prompt.
      negative: what guidance leads away from.
      **settings: of `ImageSettings`: steps, guidance, shift, size (pixels),
        solver, guidance_rescale, guidance_interval, image_guidance; or preset.

    Returns:
      RGB, n of the first prompt, then n of the next.

    Raises:
      ValueError: a setting that is unknown or out of range.
    """
    wanted = requests.drawings(
      requests.as_list(prompt), [()], n=n, seed=seed, negative=negative
    )
    return self.draw(wanted, **settings)

  def edit(
    self,
    image: Picture | Sequence[Picture],
    instruction: str | Sequence[str],
    *,
    n: int = 1,
    seed: int = 0,
    negative: str = "",
    **settings: Any,
  ) -> list[Image.Image]:
    """Changed pictures. One image serves all instructions, or the reverse.

    Args:
      image: one or more, made square.
      instruction: one or more, as many as images where both are several.
      n: as in `generate`, as are the others.
      seed: see there.
      negative: see there.
      **settings: see there; image_guidance is made for this.

    Raises:
      ValueError: as `generate`; numbers that differ; an unreadable picture.
    """
    pictures = [(picture,) for picture in requests.as_list(image)]
    texts = requests.as_list(instruction)
    wanted = requests.drawings(
      texts, pictures, n=n, seed=seed, negative=negative
    )
    return self.draw(wanted, **settings)

  def perceive(
    self,
    image: Picture | Sequence[Picture],
    kind: str,
    *,
    instruction: str = "",
    n: int = 1,
    seed: int = 0,
    **settings: Any,
  ) -> list[Image.Image]:
    """Maps of pictures: depth, edges, poses; or pictures from such maps.

    Args:
      image: one or more.
      kind: one of `paraphrases.kinds()`, e.g. "depth" or "depth_to_photo".
      instruction: words of your own; by default one of the wordings that the
        model was trained with, the same for one seed.
      n: as in `generate`, as are the others.
      seed: see there.
      **settings: see there.

    Raises:
      ValueError: as `edit`; an unknown kind.
    """
    picked = instruction or paraphrases.pick(kind, str(seed))
    return self.edit(image, picked, n=n, seed=seed, **settings)

  def personalise(
    self,
    images: Sequence[Picture],
    prompt: str | Sequence[str],
    *,
    n: int = 1,
    seed: int = 0,
    negative: str = "",
    **settings: Any,
  ) -> list[Image.Image]:
    """Pictures with the subjects of others in them.

    Args:
      images: of the subjects, 1 to 4, each made square on its own.
      prompt: what the subjects do; one or more.
      n: as in `generate`, as are the others.
      seed: see there.
      negative: see there.
      **settings: see there.

    Raises:
      ValueError: as `edit`.
    """
    pictures = [tuple(requests.as_list(images))]
    wanted = requests.drawings(
      requests.as_list(prompt), pictures, n=n, seed=seed, negative=negative
    )
    return self.draw(wanted, **settings)

  def caption(
    self,
    image: Picture | Sequence[Picture],
    *,
    seed: int = 0,
    **settings: Any,
  ) -> str | list[str]:
    """What a picture shows; a list for several pictures.

    Args:
      image: one or more.
      seed: of what is random in the sampler.
      **settings: of `TextSettings`: steps, schedule, temperature.

    Raises:
      ValueError: a setting unknown or out of range; an unreadable picture.
    """
    return self.answer(image, "", seed=seed, **settings)

  def answer(
    self,
    image: Picture | Sequence[Picture],
    question: str | Sequence[str],
    *,
    turns: requests.Turns = (),
    seed: int = 0,
    **settings: Any,
  ) -> str | list[str]:
    """The answer to a question about a picture; a list where any is several.

    Args:
      image: one or more.
      question: one or more.
      turns: earlier questions and answers, which the model reads before.
      seed: as in `caption`, as are the settings.
      **settings: see there.

    Raises:
      ValueError: as `caption`; a question that leaves no room for an answer.
    """
    asked = [requests.with_turns(q, turns) for q in requests.as_list(question)]
    pairs = requests.paired("image", requests.as_list(image), "question", asked)
    written = self.write([Writing(*p) for p in pairs], seed=seed, **settings)
    several = requests.is_several(image) or requests.is_several(question)
    return written if several else written[0]

  def draw(
    self, wanted: Sequence[Drawing], **settings: Any
  ) -> list[Image.Image]:
    """Pictures, in batches of `batch_size`; the settings are those of all.

    Raises:
      ValueError: as `edit`; requests with unequally many pictures.
    """
    chosen = settings_lib.changed(self.image_settings, settings)
    counts = {len(one.pictures) for one in wanted}
    if len(counts) > 1:
      raise ValueError(
        f"pictures: got requests with {sorted(counts)} of them, expected"
        " equally many; draw them in turn."
      )
    drawn = []
    for rows in self._batches(wanted):
      latents_BHWC = self._networks.draw(*self._inputs(rows, chosen), chosen)
      drawn += list(self._image.decode(latents_BHWC))
    return [Image.fromarray(pixels) for pixels in drawn[: len(wanted)]]

  def watch(
    self, wanted: Drawing, *, previews: int = 8, **settings: Any
  ) -> Iterator[requests.Shown]:
    """`draw` of one picture, shown on its way.

    Args:
      wanted: what to draw.
      previews: how often to show it, at most once a step; the last is the
        picture of `draw`, those before it are the clean pictures that the
        network sees in the noise.
      **settings: as `draw`.

    Raises:
      ValueError: as `draw`; previews below 1.
    """
    if previews < 1:
      raise ValueError(f"previews: got {previews}, expected at least 1.")
    chosen = settings_lib.changed(self.image_settings, settings)
    (rows,) = self._batches([wanted])
    shown = self._networks.watch(*self._inputs(rows, chosen), chosen, previews)
    for step, latents_BHWC in shown:
      picture = Image.fromarray(self._image.decode(latents_BHWC[:1])[0])
      yield requests.Shown(step=step, steps=chosen.steps, picture=picture)

  def write(
    self, wanted: Sequence[Writing], *, seed: int = 0, **settings: Any
  ) -> list[str]:
    """Captions and answers, mixed, in batches of `batch_size`.

    Raises:
      ValueError: as `answer`.
    """
    return [one.text for one in self.write_full(wanted, seed=seed, **settings)]

  def write_full(
    self, wanted: Sequence[Writing], *, seed: int = 0, **settings: Any
  ) -> list[requests.Written]:
    """`write`, with the tokens of each text and whether it was cut off."""
    chosen = settings_lib.changed(self.text_settings, settings)
    side = self.image_settings.size
    written = []
    for rows in self._batches(wanted):
      given = [self._prompt(one.question) for one in rows]
      ids_BL, is_given_BL = (np.concatenate(part) for part in zip(*given))
      latents = self._latents([(one.picture,) for one in rows], side)
      out_BL = self._networks.write(
        latents[:, 0], ids_BL, is_given_BL, seed, chosen
      )
      written += self.texts.written(out_BL, is_given_BL)
    return written[: len(wanted)]

  def check_question(self, question: str) -> None:
    """Refuses one that leaves no room for an answer.

    Raises:
      ValueError: saying how long it is and how long it may be.
    """
    self._prompt(question)

  def _inputs(
    self, rows: Sequence[Drawing], chosen: settings_lib.ImageSettings
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Features of the texts and of what to avoid, seeds, and pictures."""
    return (
      self.texts.features([one.text for one in rows]),
      self.texts.features([one.negative for one in rows]),
      np.array([one.seed for one in rows], np.uint32),
      self._latents([one.pictures for one in rows], chosen.size),
    )

  def _prompt(self, question: str) -> tuple[np.ndarray, np.ndarray]:
    eos_id = self._text.eos_id
    if not question:
      return prompts.caption_prompt(1, self._length, eos_id=eos_id)
    return prompts.answer_prompt(
      self._text.tokenise, [question], self._length, eos_id=eos_id
    )

  def _latents(
    self, pictures: Sequence[Sequence[Picture]], side: int
  ) -> np.ndarray | None:
    return pictures_in.latents(self._image, pictures, side, self._framing)

  def _encode_text(self, ids_BL: np.ndarray) -> np.ndarray:
    features = [
      self._networks.encode(np.stack(rows)) for rows in self._batches(ids_BL)
    ]
    return np.concatenate(features)[: len(ids_BL)]

  def _batches(self, rows: Sequence[Any]) -> Iterator[list[Any]]:
    shares = self._networks.shares
    return requests.in_batches(rows, self.batch_size, shares)
