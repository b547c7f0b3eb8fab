"""Width and height of an encoded picture, from its header alone."""

from collections.abc import Iterable

from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.data.sources import rejection


def read(picture: base.Picture) -> tuple[int, int] | None:
  """Width and height in pixels before rotation; None: not to be decoded."""
  try:
    with picture_files.open_header(picture.data) as image:
      return image.size
  except picture_files.PictureError:  # the decoder gives the reason later
    return None


def check(
  pictures: Iterable[base.Picture],
  *,
  min_side: int = 0,
  max_aspect: float = 0,
) -> None:
  """Checks the pictures whose header can be read; 0 turns a limit off.

  Args:
    pictures: Encoded.
    min_side: Least short side in pixels.
    max_aspect: Greatest ratio of long to short side.

  Raises:
    Rejection: one of them is outside a limit.
  """
  if not min_side and not max_aspect:
    return
  for picture in pictures:
    if (size := read(picture)) is None:
      continue
    short, long = sorted(size)
    if min_side and short < min_side:
      raise rejection.Rejection(
        "filtered: min_side", f"got {size}, expected sides >= {min_side}"
      )
    if max_aspect and long > max_aspect * short:
      raise rejection.Rejection(
        "filtered: max_aspect", f"got {size}, expected at most {max_aspect}:1"
      )
