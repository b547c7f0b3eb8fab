"""What perception maps look like, and what makes them of a photograph."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from skimage import color
from skimage import feature

from unialign_jax.data.sources import base
from unialign_jax.data.sources import rejection

CANNY_WHITE_ON_BLACK = "canny_white_on_black"
CANNY_BLACK_ON_WHITE = "canny_black_on_white"
DEPTH_GREY_NEAR_WHITE = "depth_grey_near_white"
DEPTH_SPECTRAL = "depth_spectral"
POSE_OPENPOSE = "pose_openpose_colours_on_black"
SEGMENTATION_ADE20K = "segmentation_ade20k_palette"
NORMAL_RGB = "normal_rgb_of_xyz"
SKETCH_BLACK_ON_WHITE = "sketch_black_on_white"
HED_WHITE_ON_BLACK = "hed_white_on_black"
MLSD_WHITE_ON_BLACK = "mlsd_white_on_black"

# The usual looks of a kind of map, its default first.
STYLES = {
  "canny": (CANNY_WHITE_ON_BLACK, CANNY_BLACK_ON_WHITE),
  "depth": (DEPTH_GREY_NEAR_WHITE, DEPTH_SPECTRAL),
  "pose": (POSE_OPENPOSE,),
  "segmentation": (SEGMENTATION_ADE20K,),
  "normal": (NORMAL_RGB,),
  "sketch": (SKETCH_BLACK_ON_WHITE,),
  "hed": (HED_WHITE_ON_BLACK,),
  "mlsd": (MLSD_WHITE_ON_BLACK,),
}
# On grey values in [0, 1], after a Gaussian: AnyEdit's 50 and 150 of 255.
_CANNY_SIGMA = 1.0
_CANNY_LOW, _CANNY_HIGH = 50 / 255, 150 / 255

# From uint8 [H, W, 3] to uint8 [H, W] or [H, W, 3]; None: nothing to show.
Predictor = Callable[[np.ndarray], np.ndarray | None]


class Maker:
  """Makes maps of one kind and one look.

  Args:
    kind: One of `STYLES`.
    style: The look: one of `STYLES[kind]`, or of a predictor any name that
      begins with "{kind}_"; "": the first of `STYLES[kind]`.
    predictor: "package.module:function" of a `Predictor` that draws that look;
      "" for canny, which is made here.

  Raises:
    SourceError: an unknown kind or style, or a predictor that is missing, not
      wanted, or not to be imported.
  """

  def __init__(self, kind: str, *, style: str = "", predictor: str = ""):
    if kind not in STYLES:
      raise base.SourceError(
        f"maps: got kind={kind!r}, expected one of {tuple(STYLES)}"
      )
    if (kind == "canny") == bool(predictor):
      raise base.SourceError(
        f"maps: got predictor={predictor!r} for {kind}, expected"
        ' "" for canny, and "package.module:function" for the other kinds'
      )
    self.kind = kind
    self.style = style or STYLES[kind][0]
    own = bool(predictor) and self.style.startswith(f"{kind}_")
    if self.style not in STYLES[kind] and not own:
      raise base.SourceError(
        f"maps: got style={style!r}, expected one of {STYLES[kind]}"
        + (f', or a name that begins with "{kind}_"' if predictor else "")
      )
    self._predictor = predictor
    self._function = _function(self.style, predictor)

  def __call__(self, photo: np.ndarray) -> np.ndarray:
    """The map of a photograph, uint8 [H, W, 3].

    Args:
      photo: uint8 [H, W, 3].

    Returns:
      uint8 [H, W] or [H, W, 3].

    Raises:
      Rejection: nothing to show, or the same value everywhere.
      SourceError: the predictor gave something else than a map.
    """
    made = self._function(photo)
    if made is None:
      raise rejection.Rejection("no map", f"{self._predictor} gave None")
    got = (getattr(made, "dtype", type(made)), getattr(made, "shape", None))
    if got[0] != np.uint8 or got[1] not in (photo.shape, photo.shape[:2]):
      raise base.SourceError(
        f"maps: predictor={self._predictor!r} gave {got[0]} {got[1]}, expected"
        f" uint8 {photo.shape} or {photo.shape[:2]}: the photograph's size"
      )
    if made.min() == made.max():
      raise rejection.Rejection("empty map", f"all {made.max()}")
    return made

  def __getstate__(self) -> dict[str, Any]:
    # A predictor may hold a model: every process imports its own.
    return self.__dict__ | {"_function": None}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    self._function = _function(self.style, self._predictor)


def _function(style: str, predictor: str) -> Predictor:
  if predictor:
    return _imported(predictor)
  return _canny if style == CANNY_WHITE_ON_BLACK else _inverse_canny


def _canny(image: np.ndarray) -> np.ndarray:
  """White edges on black."""
  edges = feature.canny(
    color.rgb2gray(image),
    sigma=_CANNY_SIGMA,
    low_threshold=_CANNY_LOW,
    high_threshold=_CANNY_HIGH,
  )
  return edges.astype(np.uint8) * 255


def _inverse_canny(image: np.ndarray) -> np.ndarray:
  return 255 - _canny(image)


def _imported(name: str) -> Predictor:
  module, _, function = name.partition(":")
  if not module or not function:
    raise base.SourceError(
      f'maps: got predictor={name!r}, expected "package.module:function"'
    )
  try:
    predictor = getattr(importlib.import_module(module), function)
  except (ImportError, AttributeError) as e:
    raise base.SourceError(
      f"maps: predictor={name!r} cannot be imported: {e}; correct the name, or"
      " put the module on PYTHONPATH"
    ) from e
  if not callable(predictor):
    raise base.SourceError(
      f"maps: got predictor={name!r}, a {type(predictor).__name__}, expected a"
      " function"
    )
  return predictor
