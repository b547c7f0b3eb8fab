"""From pictures and texts to numbers: shares of right ones, or decibels.

Every function returns {measure: `Score`}. Pictures are read by the verifier
from their pixels alone, texts word by word.
"""

import collections
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

from unialign_jax.data import sample as sample_lib
from unialign_jax.shapes import agreement
from unialign_jax.shapes import geneval
from unialign_jax.shapes import phrases
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import semantics
from unialign_jax.shapes import verifier


class Score(NamedTuple):
  """A mean, and over how many examples it was taken."""

  value: float
  count: int


Scores = dict[str, Score]
# Templates of every kind of question; the first kind that fits counts.
QUESTION_KINDS = {
  "background": (
    phrases.GROUND_COLOR_QUESTION,
    phrases.GROUND_TEXTURE_QUESTION,
  ),
  "person": (phrases.PERSON_QUESTION, phrases.POSE_QUESTION),
  "relation": (
    phrases.RELATION_QUESTION,
    phrases.RELATIVE_QUESTION,
    phrases.FRONT_QUESTION,
  ),
  "count": (phrases.COUNT_QUESTION, phrases.COUNT_ALL_QUESTION),
  "color": phrases.COLOR_QUESTIONS,
  "shape": phrases.SHAPE_QUESTIONS,
  "size": phrases.SIZE_QUESTIONS,
  "place": phrases.PLACE_QUESTIONS,
  "is there": (phrases.EXISTS_QUESTION,),
}
_PERFECT_PSNR = 60.0  # dB, of equal pictures


def single_objects(
  pictures: np.ndarray, samples: Sequence[sample_lib.Sample]
) -> Scores:
  """Pictures of prompts for one shape: they must show it and no other."""
  found = _agreements(pictures, samples)
  return {
    "prompt: right color": _share([a.color for a in found]),
    "prompt: right shape": _share([a.shape for a in found]),
    "prompt: both right": _share([a.color and a.shape for a in found]),
  }


def compositions(
  pictures: np.ndarray, prompts: Sequence[Mapping[str, Any]]
) -> Scores:
  """GenEval's six tasks and their mean."""
  verdicts = [
    (prompt["tag"], geneval.score(picture, prompt).correct)
    for picture, prompt in zip(pictures, prompts)
  ]
  overall, shares = geneval.overall(verdicts)
  counts = collections.Counter(tag for tag, _ in verdicts)
  found = {
    f"geneval: {tag}": Score(share, counts[tag])
    for tag, share in shares.items()
  }
  return found | {"geneval: overall": Score(overall, len(verdicts))}


def captions(
  texts: Sequence[str], samples: Sequence[sample_lib.Sample]
) -> Scores:
  """Captions of one shape; another colour or shape beside it is wrong."""
  color, shape, both = [], [], []
  for text, sample in zip(texts, samples):
    scene = scenes.Scene.from_json(sample.scene)
    (item,) = scene.objects
    said = semantics.mentions(text)
    color.append({c for _, c, _, _ in said} == {item.color})
    shape.append({s for _, _, _, s in said} == {item.shape})
    both.append(geneval.score_caption(text, scene).correct)
  return {
    "caption: color named": _share(color),
    "caption: shape named": _share(shape),
    "caption: exactly right": _share(both),
  }


def answers(
  texts: Sequence[str],
  questions: Sequence[str],
  wanted: Sequence[str],
) -> Scores:
  """Answers that are the wanted one word for word, by kind of question."""
  right = [text == answer for text, answer in zip(texts, wanted)]
  by_kind: dict[str, list[bool]] = collections.defaultdict(list)
  for question, verdict in zip(questions, right):
    by_kind[question_kind(question)].append(verdict)
  found = {"answer: all": _share(right)}
  return found | {
    f"answer: {kind}": _share(by_kind[kind])
    for kind in QUESTION_KINDS
    if kind in by_kind
  }


def question_kind(question: str) -> str:
  """What a question is about.

  Raises:
    ValueError: it is none of the Shapes language.
  """
  for kind, templates in QUESTION_KINDS.items():
    if any(re.fullmatch(_pattern(t), question) for t in templates):
      return kind
  raise ValueError(
    f"got question {question!r}, expected one made from shapes/phrases.py"
  )


def _pattern(template: str) -> str:
  """A regular expression of what a template can become."""
  options = {"relation": f"({'|'.join(phrases.RELATIONS)})"}
  parts = re.split(r"\{(\w+)\}", template)
  return "".join(
    options.get(part, ".+") if i % 2 else re.escape(part)
    for i, part in enumerate(parts)
  )


def edits(pictures: np.ndarray, samples: Sequence[sample_lib.Sample]) -> Scores:
  """Edited pictures: what was asked is done, and nothing else changed."""
  found = _agreements(pictures, samples)
  return {
    "edit: shapes and colors": _share([a.shape and a.color for a in found]),
    "edit: everything": _share([a.everything() for a in found]),
  }


def subjects(
  pictures: np.ndarray, samples: Sequence[sample_lib.Sample]
) -> Scores:
  """Pictures around a subject that only a condition picture shows."""
  found = _agreements(pictures, samples)
  return {
    "personalise: shapes and colors": _share(
      [a.shape and a.color for a in found]
    )
  }


def maps(pictures: np.ndarray, samples: Sequence[sample_lib.Sample]) -> Scores:
  """Mean peak signal-to-noise ratio to the true map, by kind."""
  by_kind: dict[str, list[float]] = collections.defaultdict(list)
  for picture, sample in zip(pictures, samples):
    kind = sample.source.split("/")[-1]
    by_kind[kind].append(psnr(picture, sample.target_image))
  return {
    f"perception: {kind}, PSNR dB": Score(float(np.mean(values)), len(values))
    for kind, values in sorted(by_kind.items())
  }


def psnr(picture: np.ndarray, target: np.ndarray) -> float:
  """Of two uint8 pictures, in decibels, at most 60."""
  error = np.mean((picture.astype(np.float64) - target) ** 2)
  if error == 0:
    return _PERFECT_PSNR
  return min(float(10 * np.log10(255.0**2 / error)), _PERFECT_PSNR)


def _agreements(
  pictures: np.ndarray, samples: Sequence[sample_lib.Sample]
) -> list[agreement.Agreement]:
  return [
    agreement.agreement(
      verifier.read(picture), scenes.Scene.from_json(sample.scene)
    )
    for picture, sample in zip(pictures, samples)
  ]


def _share(verdicts: Sequence[bool]) -> Score:
  return Score(float(np.mean(verdicts)), len(verdicts))
