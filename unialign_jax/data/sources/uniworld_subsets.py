"""The sub-sets of UniWorld-V1, by the names of their picture folders."""

import dataclasses
import fnmatch

from unialign_jax.data.sources import base

PARTS = ("text_to_image", "edit", "perception", "extract")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subset:
  """What the name of a sub-set says about its rows.

  Attributes:
    pattern: Of the folder's name in lower case, as `fnmatch` takes it.
    part: One of `PARTS`.
    map_style: Of perception: the kind of map. Whether edges are drawn white
      on black or how depth is coloured the data set does not say.
    both_ways: Of perception: rows go from photo to map and from map to photo,
      else to the map only.
    large: All pictures were chosen with a short side of 1024 pixels or more.
    license: Of the data that the sub-set was made from, where it is known.
  """

  pattern: str
  part: str
  map_style: str = ""
  both_ways: bool = False
  large: bool = False
  license: str = "mit"


def _maps(pattern: str, style: str, both_ways: bool = True) -> Subset:
  return Subset(
    pattern=pattern, part="perception", map_style=style, both_ways=both_ways
  )


# The first that fits counts. `viton_hd` and `deepfashion` come twice and only
# the count at the end of the name tells which is which.
SUBSETS = (
  Subset(pattern="blip3o-60k*", part="text_to_image"),
  Subset(pattern="osp1024*", part="text_to_image", large=True),
  Subset(pattern="imgedit*", part="edit"),
  Subset(pattern="omniedit*", part="edit", large=True),
  Subset(
    pattern="seed-data-edit*", part="edit", large=True, license="cc-by-nc-4.0"
  ),
  Subset(
    pattern="promptfix*",
    part="edit",
    large=True,
    license="research, non-commercial",
  ),
  Subset(pattern="stylebooth*", part="edit", large=True),
  Subset(pattern="ghibli*", part="edit", large=True),
  Subset(pattern="viton_hd-23k", part="extract"),
  Subset(pattern="deepfashion-27k", part="extract"),
  Subset(pattern="shop_product*", part="extract", large=True),
  _maps("viton_hd-11k", "pose", both_ways=False),
  _maps("deepfashion-13k", "pose", both_ways=False),
  _maps("coco2017_caption_canny*", "canny"),
  _maps("coco2017_caption_depth*", "depth"),
  _maps("coco2017_caption_hed*", "hed"),
  _maps("coco2017_caption_mlsd*", "mlsd"),
  _maps("coco2017_caption_normal*", "normal"),
  _maps("coco2017_caption_openpose*", "openpose"),
  _maps("coco2017_caption_sketch*", "sketch"),
  _maps("unsplash_canny*", "canny"),
  _maps("open_pose*", "openpose"),
  _maps("mscoco-controlnet-canny-less-colors*", "canny_less_colors"),
  # Two styles in one folder; the target's path tells which.
  _maps("coco2017_seg_box*", "", both_ways=False),
)


def named(folder: str) -> Subset:
  """The sub-set of that picture folder.

  Raises:
    SourceError: it is not known.
  """
  for subset in SUBSETS:
    if fnmatch.fnmatchcase(folder.lower(), subset.pattern):
      return subset
  known = ", ".join(subset.pattern for subset in SUBSETS)
  raise base.SourceError(
    f"uniworld: got picture folder {folder!r}, expected one of {known}; name"
    " the folder after its sub-set, or leave it out with `subsets`"
  )
