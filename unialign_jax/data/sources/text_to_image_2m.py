"""Text-to-Image-2M: tars of jpg + json, about 2.29 million pairs of 512 px.

Layout: `data_512_2M/data_*.tar` and `data_1024_10K/data_*.tar`, members
`<stem>.jpg` and `<stem>.json`; the caption is `prompt`, in some files
`caption`. The two folders are never mixed.
"""

import os
from collections.abc import Mapping

from etils import epath

from unialign_jax import strict_json
from unialign_jax.data.sources import base
from unialign_jax.data.sources import captioned_tars
from unialign_jax.data.sources import rejection
from unialign_jax.data.sources import tars

NAME = "text_to_image_2m"
LICENSE = "mit"
_FOLDERS = {512: "data_512_2M", 1024: "data_1024_10K"}


def open_source(
  root: str | os.PathLike, *, resolution: int = 512
) -> base.Source:
  """Opens one of the two folders.

  Args:
    root: The folder that holds both, as downloaded.
    resolution: 512 or 1024 pixels, the side of the pictures.

  Raises:
    SourceError: no tars there, or another resolution.
  """
  if resolution not in _FOLDERS:
    raise base.SourceError(
      f"{NAME}: got resolution={resolution!r}, expected one of"
      f" {sorted(_FOLDERS)}"
    )
  folder = _FOLDERS[resolution]
  return captioned_tars.CaptionedTars(
    tars.find(epath.Path(root) / folder),
    source=f"{NAME}/{folder}",
    license=LICENSE,
    caption=_caption,
  )


def _caption(members: Mapping[str, bytes]) -> str:
  data = captioned_tars.member(members, "json")
  try:
    fields = strict_json.row(data)
  except ValueError as e:  # includes text that is not UTF-8
    raise rejection.Rejection("damaged json", str(e)) from e
  if not isinstance(fields, dict):
    raise rejection.Rejection(
      "damaged json", f"got {type(fields).__name__}, expected an object"
    )
  if not {"prompt", "caption"} & fields.keys():
    raise rejection.Rejection(
      "missing key", f"got {sorted(fields)}, expected prompt or caption"
    )
  caption = fields.get("prompt") or fields.get("caption") or ""
  if not isinstance(caption, str):
    raise rejection.Rejection("damaged json", f"got caption {caption!r}")
  return caption
