"""Captions, questions and answers about a scene, in several phrasings."""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from unialign_jax.shapes import phrases
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes

# Share of a shape that must be hidden before a text speaks of front and back.
_LEAST_OVERLAP = 0.04

VOCABULARY = phrases.VOCABULARY
PUNCTUATION = phrases.PUNCTUATION


def count_tokens(text: str) -> int:
  """Words plus punctuation marks: the tokens of a whole-word tokenizer."""
  return len(re.findall(r"\w+|[^\w\s]", text))


def pick(rng: np.random.Generator, options: Iterable[str]) -> str:
  """One of the options, evenly."""
  options = list(options)
  return options[rng.integers(len(options))]


def noun(item: scenes.Object, *, color: bool = True, size: bool = False) -> str:
  """E.g. "large red circle", without an article."""
  words = [item.size] * size + [item.color] * color + [item.shape]
  return " ".join(words)


def with_article(phrase: str) -> str:
  """ "red circle" -> "a red circle", "orange star" -> "an orange star"."""
  return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def listing(items: list[str]) -> str:
  """ "x", "x and y", "x, y and z"."""
  if len(items) < 2:
    return "".join(items)
  return f"{', '.join(items[:-1])} and {items[-1]}"


def ground(background: scenes.Background) -> str:
  """E.g. "striped gray"; a plain background is named by its colour."""
  if background.texture == "plain":
    return background.color
  return f"{background.texture} {background.color}"


def person(figure: scenes.Figure) -> str:
  return f"a person {figure.pose}"


def place(item: scenes.Object | scenes.Figure) -> str:
  """E.g. "at the top left"."""
  return phrases.PLACES[scenes.region(item.x, item.y)]


def refer(item: scenes.Object, scene: scenes.Scene) -> str:
  """The shortest phrase that means this shape and no other, or ""."""
  candidates = (
    (item.shape, lambda o: o.shape == item.shape),
    (noun(item), lambda o: (o.shape, o.color) == (item.shape, item.color)),
    (
      noun(item, size=True),
      lambda o: (
        (o.shape, o.color, o.size) == (item.shape, item.color, item.size)
      ),
    ),
  )
  for phrase, fits in candidates:
    if sum(fits(o) for o in scene.objects) == 1:
      return f"the {phrase}"
  return ""


def inventory(
  scene: scenes.Scene, rng: np.random.Generator, **detail: bool
) -> str:
  """All elements in random order, e.g. "two red circles and a person waving";
  `detail` goes to `noun`."""
  return listing(elements(scene, rng, **detail))


def elements(
  scene: scenes.Scene, rng: np.random.Generator, **detail: bool
) -> list[str]:
  """One noun phrase for each kind of element, equal ones counted."""
  groups = Counter((noun(o, **detail), o.shape) for o in scene.objects)
  items = [_counted(*group, number) for group, number in groups.items()]
  if scene.figure is not None:
    items.append(person(scene.figure))
  return [items[i] for i in rng.permutation(len(items))]


def captions(
  scene: scenes.Scene,
  rng: np.random.Generator,
  max_tokens: int = 0,
  *,
  complete: bool = False,
) -> list[str]:
  """Captions from the shortest and plainest to the long and complete.

  The first is a bare list such as "a red circle"; the others add background,
  sizes, places, relations and depth, or leave colours out. All are true.

  Args:
    scene: what the picture shows; a style is named and, where the style
      hides colours, colours are not.
    rng: order of the elements and choice among phrasings.
    max_tokens: leave out captions of more tokens; 0 keeps all.
    complete: leave out those that do not name all sizes, colours and places
      and the background, where any other fits.

  Raises:
    ValueError: not even the shortest caption fits.
  """
  if scene.style != "natural":
    short, long = _styled_captions(scene, rng), []
  else:
    short, long = _short_captions(scene, rng), _long_captions(scene, rng)
  short, long = (_fitting(texts, max_tokens) for texts in (short, long))
  fitting = long if complete and long else [*short, *long]
  if not fitting:
    raise ValueError(
      f"no caption of {len(scene.objects)} shapes has at most"
      f" max_tokens={max_tokens} tokens; allow 24, or fewer shapes"
    )
  return fitting


def caption(
  scene: scenes.Scene,
  rng: np.random.Generator,
  max_tokens: int = 0,
  detail: float = 0.0,
) -> str:
  """One of `captions`, evenly; a complete one at probability `detail`."""
  complete = detail > 0 and rng.random() < detail
  return pick(rng, captions(scene, rng, max_tokens, complete=complete))


def question_answers(
  scene: scenes.Scene, rng: np.random.Generator
) -> list[tuple[str, str]]:
  """Questions that the picture decides, with their answers.

  Every kind of question that the scene admits appears at least once; yes and
  no are balanced.

  Raises:
    ValueError: the scene has a style, which may hide what would be asked.
  """
  if scene.style != "natural":
    raise ValueError(
      f"questions need a natural picture, got style {scene.style!r}"
    )
  found = [
    (phrases.COUNT_ALL_QUESTION, phrases.NUMBERS[len(scene.objects)]),
    (phrases.GROUND_COLOR_QUESTION, scene.background.color),
    (phrases.GROUND_TEXTURE_QUESTION, scene.background.texture),
    (
      phrases.PERSON_QUESTION,
      phrases.NO if scene.figure is None else phrases.YES,
    ),
  ]
  if scene.figure is not None:
    found.append((phrases.POSE_QUESTION, scene.figure.pose))
  for item in scene.objects:
    found += _object_questions(item, scene, rng)
  return found + _exists_questions(scene, rng) + _pair_questions(scene, rng)


def _fitting(texts: Iterable[str], max_tokens: int) -> list[str]:
  """The different ones among the texts that are short enough."""
  return [
    text
    for text in dict.fromkeys(texts)
    if not max_tokens or count_tokens(text) <= max_tokens
  ]


def _counted(phrase: str, shape: str, number: int) -> str:
  if number == 1:
    return with_article(phrase)
  plural = phrase.removesuffix(shape) + phrases.PLURALS[shape]
  return f"{phrases.NUMBERS[number]} {plural}"


def _short_captions(scene: scenes.Scene, rng: np.random.Generator) -> list[str]:
  where = ground(scene.background)
  colored = inventory(scene, rng)
  found = [colored]
  for template in phrases.SHORT_CAPTIONS:
    found.append(template.format(items=colored, ground=where))
  found.append(inventory(scene, rng, color=False))
  found.append(inventory(scene, rng, size=True))
  if len(scene.objects) == 2 and scene.figure is None:
    order = rng.permutation(2)
    first, second = (scene.objects[i] for i in order)
    found += _relation_captions(first, second)
  if len(scene.objects) == 1 and scene.figure is None:
    spot = place(scene.objects[0])
    found.append(f"{colored} {spot}")
  return found


def _relation_captions(
  first: scenes.Object, second: scenes.Object
) -> list[str]:
  relation = scenes.relation(first, second)
  if not relation:
    return []
  forms = [{"color": True}]
  if first.shape != second.shape:
    forms.append({"color": False})
  return [
    phrases.RELATION_CAPTION.format(
      first=with_article(noun(first, **form)),
      relation=relation,
      second=with_article(noun(second, **form)),
    )
    for form in forms
  ]


def _styled_captions(
  scene: scenes.Scene, rng: np.random.Generator
) -> list[str]:
  # The colours of a negative are the complements, so they are not named.
  return [
    phrases.STYLED_CAPTION.format(
      style=phrases.STYLE_NAMES[scene.style],
      items=inventory(scene, rng, color=False, size=size),
    )
    for size in (False, True)
  ]


def _long_captions(scene: scenes.Scene, rng: np.random.Generator) -> list[str]:
  items = [
    f"{with_article(noun(o, size=True))} {place(o)}" for o in scene.objects
  ]
  if scene.figure is not None:
    items.append(f"{person(scene.figure)} {place(scene.figure)}")
  items = listing([items[i] for i in rng.permutation(len(items))])
  sentences = [*_depth_sentences(scene), *_relation_sentences(scene, rng)]
  found = []
  for template in phrases.LONG_CAPTIONS:
    text = template.format(items=items, ground=ground(scene.background))
    found.append(text)
    if sentences:
      found.append(" ".join([text, *sentences]))
  return found


def _depth_sentences(scene: scenes.Scene) -> list[str]:
  """One sentence for every pair that overlaps and can be named."""
  return [
    phrases.DEPTH_SENTENCE.format(front=front, back=back)
    for front, back in _overlapping(scene)
  ]


def _overlapping(scene: scenes.Scene) -> list[tuple[str, str]]:
  """(front, back) phrases of shapes of which one covers a part of another."""
  pairs = []
  for i, back in enumerate(scene.objects):
    for front in scene.objects[i + 1 :]:
      names = refer(front, scene), refer(back, scene)
      hidden = scenes.touches(front, back) and (
        render.covered_share(front, back) >= _LEAST_OVERLAP
      )
      if hidden and all(names):
        pairs.append(names)
  return pairs


def _related(scene: scenes.Scene) -> list[tuple[str, str, str]]:
  """(first, relation, second) of all ordered pairs that can be named."""
  found = []
  for a in scene.objects:
    for b in scene.objects:
      names = refer(a, scene), refer(b, scene)
      if a is not b and all(names) and scenes.relation(a, b):
        found.append((names[0], scenes.relation(a, b), names[1]))
  return found


def _relation_sentences(
  scene: scenes.Scene, rng: np.random.Generator
) -> list[str]:
  """One relation, where there is one to state."""
  related = _related(scene)
  if not related:
    return []
  first, relation, second = related[rng.integers(len(related))]
  return [
    phrases.RELATION_SENTENCE.format(
      first=first, relation=relation, second=second
    )
  ]


def _object_questions(
  item: scenes.Object, scene: scenes.Scene, rng: np.random.Generator
) -> list[tuple[str, str]]:
  found = []
  if sum(o.shape == item.shape for o in scene.objects) == 1:
    question = pick(rng, phrases.COLOR_QUESTIONS)
    found.append((question.format(item=f"the {item.shape}"), item.color))
  if sum(o.color == item.color for o in scene.objects) == 1:
    question = pick(rng, phrases.SHAPE_QUESTIONS)
    found.append((question.format(color=item.color), item.shape))
  if sum(noun(o) == noun(item) for o in scene.objects) == 1:
    # Not `refer`, which would give the size away where it is needed.
    name = f"the {noun(item)}"
    question = pick(rng, phrases.SIZE_QUESTIONS)
    found.append((question.format(item=name), item.size))
    question = pick(rng, phrases.PLACE_QUESTIONS)
    found.append((question.format(item=name), place(item)))
  return found


def _exists_questions(
  scene: scenes.Scene, rng: np.random.Generator
) -> list[tuple[str, str]]:
  """One count of a kind, one "is there" with yes and one with no."""
  shape = pick(rng, scenes.SHAPES)
  if scene.objects and rng.random() < 0.7:
    shape = pick(rng, [o.shape for o in scene.objects])
  number = sum(o.shape == shape for o in scene.objects)
  question = phrases.COUNT_QUESTION.format(plural=phrases.PLURALS[shape])
  found = [(question, phrases.NUMBERS[number])]
  present = {noun(o) for o in scene.objects}
  for answer in (phrases.YES, phrases.NO) if present else (phrases.NO,):
    if answer == phrases.YES:
      name = pick(rng, sorted(present))
    else:
      name = _absent(present, rng)
    question = phrases.EXISTS_QUESTION.format(item=with_article(name))
    found.append((question, answer))
  return found


def _absent(present: set[str], rng: np.random.Generator) -> str:
  """A kind that the scene lacks, half of the time sharing a word with it."""
  while True:
    color, shape = pick(rng, scenes.COLORS), pick(rng, scenes.SHAPES)
    if present and rng.random() < 0.5:
      old_color, old_shape = pick(rng, sorted(present)).split()
      if rng.random() < 0.5:
        color = old_color
      else:
        shape = old_shape
    if f"{color} {shape}" not in present:
      return f"{color} {shape}"


def _pair_questions(
  scene: scenes.Scene, rng: np.random.Generator
) -> list[tuple[str, str]]:
  found = [
    (phrases.FRONT_QUESTION.format(item=back), front)
    for front, back in _overlapping(scene)
  ]
  related = _related(scene)
  if related:
    first, relation, second = related[rng.integers(len(related))]
    names = {"first": first, "second": second}
    relative = phrases.RELATIVE_QUESTION.format(**names)
    found.append((relative, f"{relation} {second}"))
    wrong = pick(rng, [r for r in phrases.RELATIONS if r != relation])
    for said, answer in ((relation, phrases.YES), (wrong, phrases.NO)):
      question = phrases.RELATION_QUESTION.format(relation=said, **names)
      found.append((question, answer))
  return found
