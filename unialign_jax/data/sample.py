"""One training sample before any encoder: pictures and texts.

Every importer yields these and features/writer.py consumes them; see
docs/features.md for how a data set's own columns map to the fields.
"""

import dataclasses

import numpy as np

# One feature set holds one task, hence one number of condition images.
TASKS = (
  "text_to_image",
  "edit",
  "perception",
  "personalise",
  "personalise_multi",
  "understanding",
)
MAX_CONDITIONS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
  """A target picture, what it is conditioned on, and the texts about it.

  Attributes:
    key: name of the sample, unique within its source.
    task: one of `TASKS`.
    source: data set the sample is from, e.g. "shapes/edit/add".
    license: SPDX name, or the upstream data set's own words.
    caption_source: who wrote `caption`: the data set, a model, a generator.
    target_image: uint8 [H, W, 3], the picture to generate or to describe.
    cond_images: 0 to 4 condition pictures, each uint8 [h, w, 3].
    instruction: text of the image pass (prompt or editing instruction).
    caption: text of the text pass: the caption of the target picture, or the
      answer when `question` is set.
    question: when set, the text pass reads "Q: {question} A: " + `caption`
      and the loss counts the answer only.
    scene: JSON of the scene behind the target picture (Shapes world only).

  Raises:
    ValueError: an unknown task, a picture that is not uint8 [H, W, 3], or
      more than `MAX_CONDITIONS` condition pictures.
  """

  key: str
  task: str
  source: str
  license: str
  caption_source: str
  target_image: np.ndarray
  cond_images: tuple[np.ndarray, ...] = ()
  instruction: str
  caption: str
  question: str = ""
  scene: str = ""

  def __post_init__(self) -> None:
    if self.task not in TASKS:
      raise ValueError(
        f"sample {self.key!r}: unknown task {self.task!r}, expected one of"
        f" {TASKS}"
      )
    if len(self.cond_images) > MAX_CONDITIONS:
      raise ValueError(
        f"sample {self.key!r}: {len(self.cond_images)} condition pictures,"
        f" expected at most {MAX_CONDITIONS}"
      )
    for image in (self.target_image, *self.cond_images):
      if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
          f"sample {self.key!r}: got a picture of {image.dtype}"
          f" {image.shape}, expected uint8 [H, W, 3]; convert it to RGB in"
          " the importer"
        )
