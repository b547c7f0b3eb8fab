"""BLIP3o: tars of pictures + txt.

BLIP3o-60k is eleven tars (`dalle3.tar`, `journeyDB.tar`, ...), 58,859 pairs;
the pretraining sets (Long-Caption, Short-Caption, JourneyDB) are the same
with many numbered tars. Members are `<stem>.txt` and `<stem>.jpg` (or jpeg,
png, webp); a stem that comes twice in a tar is rejected.
"""

import os
from collections.abc import Mapping

from unialign_jax.data.sources import base
from unialign_jax.data.sources import captioned_tars
from unialign_jax.data.sources import tars

NAME = "blip3o"
LICENSE = "apache-2.0"
PARTS = ("60k", "long_caption", "short_caption", "journeydb")


def open_source(root: str | os.PathLike, *, part: str = "60k") -> base.Source:
  """Opens all tars under `root`.

  Args:
    root: The folder of one of the sets, as downloaded.
    part: Which of them it is, one of `PARTS`; goes into the samples' source.

  Raises:
    SourceError: no tars there, or an unknown part.
  """
  if part not in PARTS:
    raise base.SourceError(
      f"{NAME}: got part={part!r}, expected one of {PARTS}"
    )
  return captioned_tars.CaptionedTars(
    tars.find(root),
    source=f"{NAME}/{part}",
    license=LICENSE,
    caption=_caption,
  )


def _caption(members: Mapping[str, bytes]) -> str:
  return captioned_tars.text(captioned_tars.member(members, "txt"))
