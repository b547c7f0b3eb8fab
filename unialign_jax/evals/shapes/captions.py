"""How much of a scene a caption says, and how much of it is true."""

import re
from collections import Counter

from unialign_jax.shapes import phrases
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import semantics

# Of `semantics.FEATURES`; the others are not of single elements.
_GROUPS = (
  *("shape", "color", "size", "place", "ground", "texture", "person", "pose"),
  *scenes.COLORS,  # colour with shape
)
# They name elements again that the caption has named already.
_AGAIN = re.compile(
  rf"\bthe [^.]* is (?:in front of|{'|'.join(phrases.RELATIONS)}) the [^.]*\."
)


def attribute_f1(caption: str, scene: scenes.Scene) -> float:
  """Twice what is said and shown, over all that is said and all that is shown.

  Attributes are counted: shape, colour, colour with shape and size of each
  object, places, background colour and pattern, figure and pose. A caption has
  1 if it says each once and nothing else; what it says of relations and depth
  is not judged. Places are not tied to objects.

  Args:
    caption: any text.
    scene: in natural style.
  """
  said = _attributes(semantics.caption_counts(_AGAIN.sub("", caption.lower())))
  shown = _attributes(semantics.scene_counts(scene))
  if scene.figure is not None:
    shown[f"place {scenes.region(scene.figure.x, scene.figure.y)}"] += 1
  return 2 * (said & shown).total() / (said.total() + shown.total())


def _attributes(counts: Counter[str]) -> Counter[str]:
  return Counter(
    {
      name: count
      for name, count in counts.items()
      if name.split()[0] in _GROUPS and count > 0
    }
  )
