"""Tars of pictures with their captions (WebDataset) as a T2I source."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from etils import epath

from unialign_jax.data.sources import base
from unialign_jax.data.sources import rejection
from unialign_jax.data.sources import tars

_PICTURES = ("jpg", "jpeg", "png", "webp")

# Members of a group by extension -> caption; raises Rejection.
Caption = Callable[[Mapping[str, bytes]], str]


class CaptionedTars:
  """One sample a stem: a picture and the files that hold its caption.

  Args:
    paths: Of the tars.
    source: Data set and part.
    license: Of all samples.
    caption: Finds the caption; a function of a module, so that it pickles.
  """

  def __init__(
    self,
    paths: Sequence[epath.Path],
    *,
    source: str,
    license: str,
    caption: Caption,
  ):
    self._groups = tars.Groups(paths)
    self._source = source
    self._license = license
    self._caption = caption

  def __len__(self) -> int:
    return len(self._groups)

  def __getitem__(self, index: int) -> base.Item:
    key = self._groups.key(index)
    try:
      if problem := self._groups.problem(index):
        raise rejection.Rejection(problem)
      members = self._groups[index]
      picture = _picture(members)
      caption = self._caption(members).strip()
      if not caption:
        raise rejection.Rejection("empty caption")
    except rejection.Rejection as e:
      return base.Rejected(
        key=key, source=self._source, reason=e.reason, detail=e.detail
      )
    return base.Raw(
      key=key,
      task="text_to_image",
      source=self._source,
      license=self._license,
      caption_source="dataset",
      target=picture,
      instruction=caption,
      caption=caption,
    )


def member(members: Mapping[str, bytes], extension: str) -> bytes:
  """The member with that extension.

  Raises:
    Rejection: there is none.
  """
  try:
    return members[extension]
  except KeyError:
    raise rejection.Rejection(
      "missing file", f"got {sorted(members)}, expected {extension}"
    ) from None


def text(data: bytes) -> str:
  """UTF-8 text.

  Raises:
    Rejection: it is not.
  """
  try:
    return data.decode("utf-8-sig")
  except UnicodeDecodeError as e:
    raise rejection.Rejection("damaged text", str(e)) from e


def _picture(members: Mapping[str, bytes]) -> base.Picture:
  found = [name for name in _PICTURES if name in members]
  if not found:
    raise rejection.Rejection(
      "missing file", f"got {sorted(members)}, expected one of {_PICTURES}"
    )
  if len(found) > 1:
    raise rejection.Rejection("duplicate stem", f"got {found}")
  if not members[found[0]]:
    raise rejection.Rejection("null image", f"{found[0]} is empty")
  return base.Picture(members[found[0]])
