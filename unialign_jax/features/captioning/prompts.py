"""What a model is asked about a picture.

A text that changes gets a new id: captions keep the id of theirs.
"""

import dataclasses

from unialign_jax.data.sources import base

_STYLE = (
  " Write one paragraph of at most 120 words, in plain sentences. Begin with"
  " the subject itself, not with words about the picture as a picture. No"
  " headings, lists or line breaks, and nothing that cannot be seen."
)
_PHOTO = (
  "Describe what is in this picture: the main subjects with their colors,"
  " number, actions and places relative to each other, then the surroundings,"
  " the light, and the style if it is not a photograph. Quote any text that"
  " can be read." + _STYLE
)
_EDIT = (
  "Describe what is in this picture as it is now: the subjects with their"
  " colors, number, actions and places, the surroundings and the style. It may"
  " have been altered; take all that is there as a fact and say nothing about"
  " changes, editing or artefacts." + _STYLE
)
_MAP = (
  "This picture is {kind}. Say in the first sentence what kind of map it is,"
  " then describe the objects and the layout that can be told from it, and"
  " where they are. Do not guess colors or materials of the things behind it."
  + _STYLE
)
# By the first word of `Raw.map_style`; the rest of it tells the colors.
_KINDS = {
  "canny": "a Canny edge map",
  "depth": "a depth map",
  "hed": "a soft edge map (HED)",
  "mlsd": "a map of straight lines (M-LSD)",
  "normal": "a map of surface normals",
  "openpose": "a human pose map, a skeleton of joints and limbs",
  "pose": "a human pose map, a skeleton of joints and limbs",
  "scribble": "a scribble made from a photograph",
  "seg": "a segmentation map",
  "segmentation": "a segmentation map",
  "sketch": "a line sketch made from a photograph",
}
_ANY_KIND = "a map computed from a photograph, such as edges, depth or pose"


@dataclasses.dataclass(frozen=True)
class Prompt:
  """A text and the name that captions made with it carry."""

  id: str
  text: str


def of(raw: base.Raw) -> Prompt:
  """What to ask about the target of a sample."""
  if raw.task == "perception":
    return _of_map(raw.map_style)
  if raw.task == "edit":
    return Prompt("edit-1", _EDIT)
  return Prompt("photo-1", _PHOTO)


def _of_map(style: str) -> Prompt:
  if not style:
    return Prompt("map-1", _MAP.format(kind=_ANY_KIND))
  name, *look = style.split("_")
  kind = _KINDS.get(name, f"a {name} map")
  if look:
    kind += f" ({' '.join(look)})"
  return Prompt(f"map-1/{style}", _MAP.format(kind=kind))
