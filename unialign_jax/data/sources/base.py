"""What every data set becomes: samples with encoded pictures, or a reason.

A source is random access over what a data set's files hold, in an order that
never changes. It decodes nothing: pictures stay the bytes that were stored,
so that opening a source of millions of rows reads texts and indices alone.
"""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from unialign_jax.data import sample as sample_lib


class SourceError(ValueError):
  """Files that cannot be read as the format: what, got, expected, remedy."""


@dataclasses.dataclass(frozen=True)
class Picture:
  """An encoded picture.

  Attributes:
    data: The file as it was stored (JPEG, PNG, WebP, ...).
    box: Left, top, right and bottom in pixels of the part that counts, after
      rotation by EXIF; None: all of it.
  """

  data: bytes
  box: tuple[int, int, int, int] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raw:
  """A sample whose pictures are still encoded; see data/sample.py.

  Attributes:
    key: Unique within the source and the same in every run, e.g.
      "train-00000-of-00383/17".
    task: One of `data.sample.TASKS`.
    source: Data set and part, e.g. "anyedit/color_alter".
    license: SPDX name, or the data set's own words.
    caption_source: "dataset", or what wrote the caption; "" without caption.
    target: The picture to generate or to describe.
    conditions: The pictures that it is made from.
    instruction: Text of the image pass.
    caption: Caption of the target, or the answer; "" is still to be written.
    question: Of understanding samples.
    map_style: How a perception map is drawn, e.g. "canny_white_on_black".
    scores: Numbers that the data set gives, by its own names.
  """

  key: str
  task: str
  source: str
  license: str
  caption_source: str
  target: Picture
  conditions: tuple[Picture, ...] = ()
  instruction: str
  caption: str = ""
  question: str = ""
  map_style: str = ""
  scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    if self.task not in sample_lib.TASKS:
      raise ValueError(
        f"{self.source} {self.key}: got task {self.task!r}, expected one of"
        f" {sample_lib.TASKS}"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rejected:
  """A row that gives no sample.

  Attributes:
    key: As in `Raw`.
    source: As in `Raw`.
    reason: Short and without particulars, so that reasons can be counted:
      "null image", "empty caption", "filtered: o_score".
    detail: The particulars.
  """

  key: str
  source: str
  reason: str
  detail: str = ""


Item = Raw | Rejected


class Source(Protocol):
  """All samples of one task with one number of condition pictures.

  Pure and picklable: worker processes each open their own copy, and index i
  gives the same item in all of them.
  """

  def __len__(self) -> int:
    """How many items there are, those that are rejected included."""

  def __getitem__(self, index: int) -> Item:
    """Item `index`. Bad rows are returned as `Rejected`, not raised."""
