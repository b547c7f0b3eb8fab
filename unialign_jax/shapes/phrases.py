"""Every template and word of the Shapes language; language.py fills them in.

All text of the world comes from here, lower case and ASCII, so that the
vocabulary is closed: `VOCABULARY` is read off the templates themselves.
"""

import re

from unialign_jax.shapes import scene as scenes

NUMBERS = ("zero", "one", "two", "three", "four")
PLURALS = {
  shape: shape + ("es" if shape == "cross" else "s") for shape in scenes.SHAPES
}
PLACES = {
  "top left": "at the top left",
  "top": "at the top",
  "top right": "at the top right",
  "left": "on the left",
  "center": "in the center",
  "right": "on the right",
  "bottom left": "at the bottom left",
  "bottom": "at the bottom",
  "bottom right": "at the bottom right",
}
RELATIONS = ("left of", "right of", "above", "below")
STYLE_NAMES = {
  "grayscale": "a grayscale picture",
  "sepia": "a sepia picture",
  "sketch": "a sketch",
  "negative": "a negative",
}

# Captions. {items} is a list of noun phrases, {ground} e.g. "striped gray".
SHORT_CAPTIONS = (
  "{items}",
  "a picture of {items}",
  "{items} on a {ground} background",
  "a {ground} background with {items}",
)
RELATION_CAPTION = "{first} {relation} {second}"
STYLED_CAPTION = "{style} of {items}"
LONG_CAPTION = "{items}, on a {ground} background."
LONG_CAPTIONS = (
  LONG_CAPTION,
  "the background is {ground}. there is {items}.",
)
DEPTH_SENTENCE = "{front} is in front of {back}."
RELATION_SENTENCE = "{first} is {relation} {second}."
EDGES_CAPTION = "the edges of {items}"
DEPTH_CAPTION = "the depth of {items}"
POSE_CAPTION = "the pose of {items}"

# Questions with their answers; see language.question_answers.
COLOR_QUESTIONS = ("what color is {item}?", "what is the color of {item}?")
SHAPE_QUESTIONS = (
  "what shape is the {color} one?",
  "what is the {color} shape?",
)
SIZE_QUESTIONS = ("what size is {item}?", "is {item} small or large?")
COUNT_QUESTION = "how many {plural} are there?"
COUNT_ALL_QUESTION = "how many shapes are there?"
PLACE_QUESTIONS = ("where is {item}?", "in which place is {item}?")
EXISTS_QUESTION = "is there {item}?"
RELATION_QUESTION = "is {first} {relation} {second}?"
RELATIVE_QUESTION = "where is {first} relative to {second}?"
FRONT_QUESTION = "what is in front of {item}?"
GROUND_COLOR_QUESTION = "what color is the background?"
GROUND_TEXTURE_QUESTION = "what pattern has the background?"
PERSON_QUESTION = "is there a person?"
POSE_QUESTION = "what is the person doing?"
YES, NO = "yes", "no"

# Instructions. {item} refers to one element, {new} describes what to draw.
ADD = ("add {new} {place}", "put {new} {place}")
REMOVE = ("remove {item}", "delete {item}", "take {item} away")
REPLACE = ("replace {item} with {new}", "turn {item} into {new}")
RECOLOR = ("make {item} {color}", "change the color of {item} to {color}")
GROW = ("make {item} larger", "enlarge {item}")
SHRINK = ("make {item} smaller", "shrink {item}")
EXTRACT = ("extract {item}", "show only {item} on a white background")
GROUND = (
  "change the background to {ground}",
  "make the background {ground}",
)
STYLE = ("turn the picture into {style}", "make this {style}")
ACTION = ("make the person {act}", "the person should {act}")
ACTS = {
  "standing": "stand",
  "walking": "walk",
  "waving": "wave",
  "cheering": "cheer",
  "stretching": "stretch",
}
BOTH = "{first} and {second}"
CANNY = ("detect the edges", "draw the canny edges of the picture")
DEPTH = ("estimate the depth", "draw the depth map of the picture")
POSE = ("detect the pose", "draw the pose of the person")
SUBJECT = "the subject"
SUBJECTS = ("the first subject", "the second subject")
PERSONALISE = (
  "{items} on a {ground} background",
  "draw {items} on a {ground} background",
)

_JOINERS = "a an and the person"


def _words(value: object) -> set[str]:
  """Words of a template, or of every template in a collection."""
  if isinstance(value, str):
    return set(re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", value)))
  if isinstance(value, dict):
    return _words(tuple(value)) | _words(tuple(value.values()))
  return set().union(*(_words(item) for item in value))


_ATTRIBUTES = (
  scenes.SHAPES,
  scenes.COLORS,
  scenes.SIZES,
  scenes.BACKGROUND_COLORS,
  scenes.TEXTURES,
  scenes.POSES,
)
# Read off the module itself, so that no new template can be forgotten.
_TEMPLATES = tuple(
  value
  for name, value in list(globals().items())
  if name.isupper() and not name.startswith("_")
)
# All words, sorted; punctuation is apart.
VOCABULARY = tuple(sorted(_words((*_ATTRIBUTES, *_TEMPLATES, _JOINERS))))
PUNCTUATION = (",", ".", "?")
