"""Perception samples made from the photographs of any other source.

The instruction is one of many wordings, the same for a photograph in every
run. Photograph and map are made at the training resolution, so that lines keep
their width and both stay aligned.
"""

import dataclasses
import io
import os
from typing import Any

import numpy as np
from PIL import Image

from unialign_jax.data.sources import base
from unialign_jax.data.sources import map_makers
from unialign_jax.data.sources import paraphrases
from unialign_jax.data.sources import pictures
from unialign_jax.data.sources import registry
from unialign_jax.data.sources import rejection

NAME = "perception_maps"
LICENSE = "as the photographs"

# What comes before the photograph's caption to make the map's.
CAPTION_PREFIXES = {
  "canny": "Canny edge map of: ",
  "depth": "Depth map of: ",
  "pose": "Human pose map of: ",
  "segmentation": "Segmentation map of: ",
  "normal": "Surface normal map of: ",
  "sketch": "Sketch of: ",
  "hed": "Soft edge map of: ",
  "mlsd": "Straight line map of: ",
}
_DIRECTIONS = {
  "photo_to_map": ("photo_to_map",),
  "map_to_photo": ("map_to_photo",),
  "both": ("photo_to_map", "map_to_photo"),
}
_CAPTIONS = ("prefix", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What samples are made of photographs and maps; see `open_source`.

  Raises:
    SourceError: a value that there is not, naming those there are.
  """

  direction: str = "photo_to_map"
  caption: str = "prefix"
  describe: bool = True
  side: int = 512

  def __post_init__(self) -> None:
    for name, known in (("direction", _DIRECTIONS), ("caption", _CAPTIONS)):
      if getattr(self, name) not in known:
        raise base.SourceError(
          f"{NAME}: got {name}={getattr(self, name)!r}, expected one of"
          f" {tuple(known)}"
        )
    if self.side < 1:
      raise base.SourceError(
        f"{NAME}: got side={self.side}, expected at least 1 pixel"
      )


def open_source(
  root: str | os.PathLike,
  *,
  photos: str = "folder",
  kind: str = "canny",
  direction: str = "photo_to_map",
  predictor: str = "",
  style: str = "",
  caption: str = "prefix",
  describe: bool = True,
  side: int = 512,
  **photo_options: Any,
) -> base.Source:
  """Makes maps of the target pictures of another source.

  Args:
    root: Of the photographs.
    photos: Name of their source in the registry.
    kind: One of `map_makers.STYLES`.
    direction: "photo_to_map", "map_to_photo", or "both" as two samples.
    predictor: "package.module:function" for every kind but canny; see
      `map_makers.Predictor`.
    style: How the maps look, recorded with each; see `map_makers.Maker`.
    caption: Of photo_to_map: "prefix" puts `CAPTION_PREFIXES[kind]` before the
      photograph's caption; "none" leaves it to be recaptioned.
    describe: Of map_to_photo: the photograph's caption follows the wording.
    side: Short side in pixels that photographs are resized to, bicubic: the
      training resolution.
    **photo_options: Of the photographs' source.

  Raises:
    SourceError: an option's value that there is not, or a predictor that
      cannot be imported.
  """
  maker = map_makers.Maker(kind, style=style, predictor=predictor)
  options = Options(
    direction=direction, caption=caption, describe=describe, side=side
  )
  return Maps(
    registry.open_source(photos, root, **photo_options), maker, options
  )


class Maps:
  """Photographs and their maps.

  Args:
    photos: Any source; the targets are the photographs.
    maker: Of the maps.
    options: What samples of both.
  """

  def __init__(
    self, photos: base.Source, maker: map_makers.Maker, options: Options
  ):
    self._photos = photos
    self._maker = maker
    self._options = options
    self._directions = _DIRECTIONS[options.direction]
    self._latest = None

  def __len__(self) -> int:
    return len(self._photos) * len(self._directions)

  def __getitem__(self, index: int) -> base.Item:
    number, way = divmod(index, len(self._directions))
    to_photo = self._directions[way] == "map_to_photo"
    photo = self._photos[number]
    name = f"{self._maker.kind}_to_photo" if to_photo else self._maker.kind
    key, source = f"{photo.key}/{name}", f"{photo.source}/{name}"
    if isinstance(photo, base.Rejected):
      return dataclasses.replace(photo, key=key, source=source)
    try:
      picture, made = self._pair(number, photo.target)
    except (rejection.Rejection, pictures.PictureError) as e:
      return base.Rejected(
        key=key, source=source, reason=e.reason, detail=e.detail
      )
    # An answer to a question is no caption.
    caption = "" if photo.question else photo.caption
    instruction = paraphrases.pick(name, photo.key)
    if to_photo:
      if self._options.describe:
        instruction = f"{instruction} {caption}".strip()
    elif self._options.caption == "none":
      caption = ""
    elif caption:
      caption = CAPTION_PREFIXES[name] + caption
    return base.Raw(
      key=key,
      task="perception",
      source=source,
      license=photo.license,
      caption_source=photo.caption_source if caption else "",
      target=picture if to_photo else made,
      conditions=(made if to_photo else picture,),
      instruction=instruction,
      caption=caption,
      map_style=self._maker.style,
      scores=photo.scores,
    )

  def _pair(
    self, number: int, target: base.Picture
  ) -> tuple[base.Picture, base.Picture]:
    """The photograph at the training resolution, and its map."""
    if self._latest is None or self._latest[0] != number:
      image = pictures.decode(target)
      resized = _resized(image, self._options.side)
      photo = target if resized is image else _png(resized)
      # Both directions of a photograph follow each other.
      self._latest = (number, (photo, _png(self._maker(resized))))
    return self._latest[1]

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | {"_latest": None}


def _resized(image: np.ndarray, side: int) -> np.ndarray:
  """The picture itself where its short side is `side` already."""
  height, width = image.shape[:2]
  scale = side / min(height, width)
  if scale == 1:
    return image
  size = (max(side, round(width * scale)), max(side, round(height * scale)))
  resample = Image.Resampling.BICUBIC
  return np.asarray(Image.fromarray(image).resize(size, resample))


def _png(image: np.ndarray) -> base.Picture:
  file = io.BytesIO()
  # Read once or twice only: speed before size.
  Image.fromarray(image).save(file, "PNG", compress_level=1)
  return base.Picture(file.getvalue())
