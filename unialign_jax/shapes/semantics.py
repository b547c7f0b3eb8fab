"""Attributes of a scene as a vector, in the place of Qwen2.5-VL.

The paper aligns the network with a frozen vision-language encoder. The
Shapes world has none: what such an encoder would see in a picture, or read
in a caption, is here written down from the scene or from the words. Both
sides share one space: entry i of either vector is `FEATURES[i]`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from unialign_jax.data import sample as sample_lib
from unialign_jax.shapes import maps
from unialign_jax.shapes import phrases
from unialign_jax.shapes import scene as scenes

_PLACES = (
  "top left",
  "top",
  "top right",
  "left",
  "center",
  "right",
  "bottom left",
  "bottom",
  "bottom right",
)
# "bias" keeps the vector of a text without any attribute off zero.
FEATURES = (
  "bias",
  *(f"shape {s}" for s in scenes.SHAPES),
  *(f"color {c}" for c in scenes.COLORS),
  *(f"size {s}" for s in scenes.SIZES),
  *(f"{c} {s}" for c in scenes.COLORS for s in scenes.SHAPES),
  *(f"place {p}" for p in _PLACES),
  *(f"relation {r}" for r in phrases.RELATIONS),
  *(f"ground {c}" for c in scenes.BACKGROUND_COLORS),
  *(f"texture {t}" for t in scenes.TEXTURES),
  "person",
  *(f"pose {p}" for p in scenes.POSES),
  *(f"style {s}" for s in scenes.STYLES),
  *(f"map {kind}" for kind in maps.KINDS),
)
WIDTH = len(FEATURES)
_INDEX = {name: i for i, name in enumerate(FEATURES)}
_SINGULAR = {form: shape for shape, form in phrases.PLURALS.items()} | {
  shape: shape for shape in scenes.SHAPES
}
_WORD_FEATURES = {
  name.split()[-1]: name
  for name in FEATURES
  if name.split()[0] in ("pose", "style", "person")
} | {"edges": "map canny", "depth": "map depth", "pose": "map pose"}
# What neither a map nor a picture in another style shows.
_COLOR_GROUPS = (*scenes.COLORS, "color", "ground", "texture")


class SceneAttributes:
  """The semantic encoder of the Shapes world: no network, only attributes.

  Attributes:
    dim: width of the vectors.
    tokens: 0, as h_image is one vector a picture.
    identity: changes whenever the meaning of an entry does.
  """

  dim = WIDTH
  tokens = 0
  identity = hashlib.sha256("|".join(FEATURES).encode()).hexdigest()

  def __call__(
    self, samples: Sequence[sample_lib.Sample]
  ) -> tuple[np.ndarray, np.ndarray]:
    """h_image of the target pictures, h_text of the captions: f32 [B, E].

    Raises:
      ValueError: a sample without a scene, so not from the Shapes world.
    """
    images = np.stack([_embed_target(sample) for sample in samples])
    texts = np.stack([embed_caption(sample.caption) for sample in samples])
    return images, texts


def _embed_target(sample: sample_lib.Sample) -> np.ndarray:
  if not sample.scene:
    raise ValueError(
      f"sample {sample.key!r} has no scene to take attributes from; only"
      " samples of the Shapes world have one, others need a vision-language"
      " encoder"
    )
  scene = scenes.Scene.from_json(sample.scene)
  if sample.task == "perception":
    return embed_scene(scene, map_kind=sample.source.split("/")[-1])
  return embed_scene(scene)


def embed_scene(scene: scenes.Scene, map_kind: str = "") -> np.ndarray:
  """float32 [WIDTH] of unit length: counts of what a picture shows.

  Args:
    scene: what the picture was made from.
    map_kind: one of `maps.KINDS` where the picture is that map of the scene.
  """
  return _unit(scene_counts(scene, map_kind))


def scene_counts(scene: scenes.Scene, map_kind: str = "") -> Counter[str]:
  """How often a picture shows each of `FEATURES`; as `embed_scene`."""
  counts: Counter[str] = Counter(["bias"])
  if map_kind != "pose":
    counts += _objects(scene)
  counts[f"ground {scene.background.color}"] += 1
  counts[f"texture {scene.background.texture}"] += 1
  if scene.figure is not None:
    counts["person"] += 1
    counts[f"pose {scene.figure.pose}"] += 1
  if map_kind or scene.style != "natural":
    for name in counts:
      if name.split()[0] in _COLOR_GROUPS:
        counts[name] = 0
  counts[f"map {map_kind}" if map_kind else f"style {scene.style}"] += 1
  return counts


def _objects(scene: scenes.Scene) -> Counter[str]:
  counts: Counter[str] = Counter()
  for item in scene.objects:
    counts += _object(item.shape, item.color, item.size)
    counts[f"place {scenes.region(item.x, item.y)}"] += 1
    for other in scene.objects:
      relation = scenes.relation(item, other)
      if relation:
        counts[f"relation {relation}"] += 1
  return counts


def embed_caption(caption: str) -> np.ndarray:
  """float32 [WIDTH] of unit length: counts of what a caption mentions.

  Colours and sizes go to the shape that follows them, a number word
  multiplies it; words outside the Shapes language count for nothing.
  """
  return _unit(caption_counts(caption))


def caption_counts(caption: str) -> Counter[str]:
  """How often a caption mentions each of `FEATURES`."""
  counts: Counter[str] = Counter(["bias"])
  for number, color, size, shape in mentions(caption):
    for _ in range(number):
      counts += _object(shape, color, size)
  text = caption.lower()
  for ground in _grounds(text):
    counts += ground
  for place in _phrases_of(text, _PLACE_PATTERN):
    counts[f"place {place}"] += 1
  for relation in _phrases_of(text, "|".join(phrases.RELATIONS)):
    counts[f"relation {relation}"] += 1
  for word in re.findall(r"[a-z]+", text):
    if word in _WORD_FEATURES:
      counts[_WORD_FEATURES[word]] += 1
  return counts


def mentions(caption: str) -> list[tuple[int, str, str, str]]:
  """(number, colour, size, shape) of every noun phrase; "" where unsaid.

  A caption of adjectives alone, such as the answer "red", gives one entry
  without a shape.
  """
  found, number, color, size = [], 1, "", ""
  for word in re.findall(r"[a-z]+", caption.lower()):
    if word in phrases.NUMBERS:
      number = phrases.NUMBERS.index(word)
    elif word in scenes.COLORS:
      color = word
    elif word in scenes.SIZES:
      size = word
    elif word in _SINGULAR:
      found.append((number, color, size, _SINGULAR[word]))
      number, color, size = 1, "", ""
    elif word in ("a", "an", "the", "and"):
      number, color, size = 1, "", ""
  if color or size:
    found.append((number, color, size, ""))
  return found


# "left of" and "right of" are relations, "on the left" is a place.
_PLACE_PATTERN = (
  r"(?:at|on|in) the ((?:top|bottom) (?:left|right)|top|bottom|left|right"
  r"|center)"
)
_GROUND_WORDS = "|".join((*scenes.TEXTURES, *scenes.BACKGROUND_COLORS))
_GROUND_PATTERN = (
  rf"((?:\b(?:{_GROUND_WORDS})\s+)+)background"
  rf"|background is ((?:(?:{_GROUND_WORDS})\b\s*)+)"
)


def _phrases_of(text: str, pattern: str) -> list[str]:
  return re.findall(pattern, text)


def _grounds(text: str) -> list[Counter[str]]:
  """Background colours and patterns; a bare colour means a plain one."""
  found = []
  for before, after in re.findall(_GROUND_PATTERN, text):
    words = (before or after).split()
    colors = [w for w in words if w in scenes.BACKGROUND_COLORS]
    textures = [w for w in words if w in scenes.TEXTURES] or ["plain"]
    found.append(
      Counter(
        [
          *(f"ground {c}" for c in colors),
          *(f"texture {t}" for t in textures),
        ]
      )
    )
  return found


def _object(shape: str, color: str, size: str) -> Counter[str]:
  counts: Counter[str] = Counter()
  for group, value in (("shape", shape), ("color", color), ("size", size)):
    if value:
      counts[f"{group} {value}"] += 1
  if shape and color:
    counts[f"{color} {shape}"] += 1
  return counts


def _unit(counts: Counter[str]) -> np.ndarray:
  vector = np.zeros(WIDTH, np.float32)
  for name, count in counts.items():
    if count:
      vector[_INDEX[name]] = count
  return vector / np.linalg.norm(vector)
