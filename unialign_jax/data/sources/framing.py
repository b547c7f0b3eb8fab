"""Pictures of a sample to squares of one size, through one window.

Every picture is resampled at most once, bicubic, straight from its own pixels
to those of the square.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image

POLICIES = ("crop", "pad", "squash")
# Pictures of one scene that were rounded to other sizes differ by less.
_MAX_ASPECT_RATIO = 1.03
_WHITE = 255


class FramingError(ValueError):
  """Pictures that should show the same frame but have other aspect ratios.

  Attributes:
    reason: Short, so that reasons can be counted.
    detail: The particulars.
  """

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(reason, detail)
    self.reason = reason
    self.detail = detail

  def __str__(self) -> str:
    return f"{self.reason}: {self.detail}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Window:
  """What part of a picture goes where in the square.

  Attributes:
    source: Left, top, right, bottom in the target picture's pixels.
    size: Width and height of that part in the square, in pixels.
  """

  source: tuple[float, float, float, float]
  size: tuple[int, int]


def frame(
  images: Sequence[np.ndarray],
  side: int,
  policy: str,
  *,
  same_frame: bool = True,
) -> list[np.ndarray]:
  """Squares of `side` pixels from the pictures of one sample.

  Args:
    images: The target first, then the conditions, each uint8 [h, w, 3].
    side: In pixels.
    policy: "crop" brings the short side to `side` and cuts out the centre,
      "pad" the long side and fills up with white evenly, "squash" both.
    same_frame: Whether the conditions show the target's frame (edits,
      perception): they are then treated as pictures of the target's size.
      Otherwise each picture is framed alone.

  Returns:
    As many pictures, uint8 [side, side, 3]; those that are right already are
    returned as they are.

  Raises:
    FramingError: with `same_frame`, an aspect ratio more than 3 % from the
      target's.
    ValueError: unknown policy, or a side below 1.
  """
  if policy not in POLICIES or side < 1:
    raise ValueError(
      f"got policy {policy!r} and side {side}, expected one of {POLICIES} and"
      " at least 1"
    )
  if same_frame:
    _check_aspects(images)
  framed = []
  for image in images:
    height, width = (images[0] if same_frame else image).shape[:2]
    window = _window(width, height, side, policy)
    scale_x, scale_y = image.shape[1] / width, image.shape[0] / height
    left, top, right, bottom = window.source
    box = (left * scale_x, top * scale_y, right * scale_x, bottom * scale_y)
    framed.append(_on_white(_resized(image, box, window.size), side))
  return framed


def _check_aspects(images: Sequence[np.ndarray]) -> None:
  height, width = images[0].shape[:2]
  for number, image in enumerate(images[1:]):
    ratio = (image.shape[1] * height) / (image.shape[0] * width)
    if max(ratio, 1 / ratio) > _MAX_ASPECT_RATIO:
      raise FramingError(
        "aspect ratios differ",
        f"condition {number} has {image.shape[1]} x {image.shape[0]} pixels,"
        f" the target {width} x {height}",
      )


def _window(width: int, height: int, side: int, policy: str) -> _Window:
  if policy == "crop":
    short = min(width, height)
    # Whole pixels, so that nothing is resampled where the size is right.
    left, top = (width - short) // 2, (height - short) // 2
    return _Window(
      source=(left, top, left + short, top + short), size=(side, side)
    )
  size = (side, side)
  if policy == "pad":
    scale = side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
  return _Window(source=(0, 0, width, height), size=size)


def _resized(
  image: np.ndarray,
  box: tuple[float, float, float, float],
  size: tuple[int, int],
) -> np.ndarray:
  """The part `box` of a picture at `size`; at its own size it is only cut."""
  left, top, right, bottom = (round(edge) for edge in box)
  if (left, top, right, bottom) == box and size == (right - left, bottom - top):
    return image[top:bottom, left:right]
  resized = Image.fromarray(image).resize(
    size, Image.Resampling.BICUBIC, box=box
  )
  return np.asarray(resized)


def _on_white(image: np.ndarray, side: int) -> np.ndarray:
  """The picture in the middle of a white square."""
  height, width, _ = image.shape
  if (height, width) == (side, side):
    return np.ascontiguousarray(image)
  square = np.full((side, side, 3), _WHITE, np.uint8)
  top, left = (side - height) // 2, (side - width) // 2
  square[top : top + height, left : left + width] = image
  return square
