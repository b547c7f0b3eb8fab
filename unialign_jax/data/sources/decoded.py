"""A source with its pictures decoded and framed: what precompute reads."""

import dataclasses

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.data.sources import framing
from unialign_jax.data.sources import pictures

# Tasks whose condition pictures show the target's own frame.
_SAME_FRAME_TASKS = ("edit", "perception")


class Decoded:
  """Random access to the samples of a source; picklable like the source.

  Args:
    source: Whose items are decoded.
    side: Of the square pictures, in pixels.
    policy: One of `framing.POLICIES`.

  Raises:
    ValueError: unknown policy, or a side below 1.
  """

  def __init__(self, source: base.Source, *, side: int, policy: str = "crop"):
    framing.frame([], side, policy, same_frame=False)  # checks the two
    self._source = source
    self._side = side
    self._policy = policy

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> sample_lib.Sample | base.Rejected:
    """Sample `index`, or why there is none."""
    raw = self._source[index]
    if isinstance(raw, base.Rejected):
      if _not_utf8(raw):
        return _rejected(raw, raw.reason, raw.detail)
      return raw
    if name := _not_utf8(raw):
      return _rejected(raw, "not UTF-8", f"{name}: {getattr(raw, name)!a}")
    if not raw.caption.strip():
      return _rejected(
        raw,
        "no caption",
        "the data set gives none; write captions with `python -m"
        " unialign_jax.recaption` and name their file",
      )
    if len(raw.conditions) > sample_lib.MAX_CONDITIONS:
      return _rejected(
        raw,
        "too many condition pictures",
        f"got {len(raw.conditions)}, expected at most"
        f" {sample_lib.MAX_CONDITIONS}",
      )
    try:
      target, *conditions = framing.frame(
        _decode_all(raw),
        self._side,
        self._policy,
        same_frame=raw.task in _SAME_FRAME_TASKS,
      )
    except (pictures.PictureError, framing.FramingError) as e:
      return _rejected(raw, e.reason, e.detail)
    return sample_lib.Sample(
      key=raw.key,
      task=raw.task,
      source=raw.source,
      license=raw.license,
      caption_source=raw.caption_source,
      target_image=target,
      cond_images=tuple(conditions),
      instruction=raw.instruction,
      caption=raw.caption,
      question=raw.question,
    )


def _decode_all(raw: base.Raw) -> list:
  """The target and the conditions; errors say which picture it was."""
  names = ["target", *(f"condition {n}" for n in range(len(raw.conditions)))]
  images = []
  for name, picture in zip(names, (raw.target, *raw.conditions)):
    try:
      images.append(pictures.decode(picture))
    except pictures.PictureError as e:
      raise pictures.PictureError(e.reason, f"{name}: {e.detail}") from e
  return images


def _not_utf8(raw: base.Item) -> str:
  """The first text that neither records nor tokenizers can hold, or ""."""
  for field in dataclasses.fields(raw):
    value = getattr(raw, field.name)
    if isinstance(value, str) and value != _printable(value):
      return field.name
  return ""


def _printable(text: str) -> str:
  """Bytes passed through, and halves of characters, as escapes."""
  return text.encode(errors="backslashreplace").decode()


def _rejected(raw: base.Item, reason: str, detail: str) -> base.Rejected:
  return base.Rejected(
    key=_printable(raw.key),
    source=_printable(raw.source),
    reason=reason,
    detail=_printable(detail),
  )
