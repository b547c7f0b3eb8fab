"""What is asked of a pipeline: pictures and texts that are wanted, in rows."""

import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from PIL import Image

from unialign_jax.features import tokens
from unialign_jax.use import pictures_in

Picture = pictures_in.Picture
Turns = Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
  """One picture that is wanted.

  Attributes:
    text: prompt or instruction.
    pictures: condition images, at most 4.
    negative: what guidance leads away from; "" for nothing in particular.
    seed: of the noise: the same picture alone, in a batch, on any device.
  """

  text: str
  pictures: Sequence[Picture] = ()
  negative: str = ""
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Writing:
  """One text that is wanted: a caption, or the answer to a question."""

  picture: Picture
  question: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
  """A text, and how it came about.

  Attributes:
    text: the caption or answer.
    ids: its tokens, without EOS.
    num_given: tokens of the question before it.
    is_complete: False where the room was full before an EOS was written.
  """

  text: str
  ids: tuple[int, ...]
  num_given: int
  is_complete: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
  """A picture on its way: after `step` of `steps` steps of the solver."""

  step: int
  steps: int
  picture: Image.Image


def with_turns(question: str, turns: Turns) -> str:
  """A question after earlier ones and their answers, in the one format.

  `tokens.QUESTION_FORMAT` around the whole gives
  `Q: first A: its answer Q: question A: `.
  """
  said = "".join(
    tokens.QUESTION_FORMAT.format(asked) + f"{answered} "
    for asked, answered in turns
  )
  return (said + f"Q: {question}").removeprefix("Q: ")


def is_several(value: Any) -> bool:
  """Whether a caller gave a list (or tuple) rather than one thing."""
  return isinstance(value, list | tuple)


def as_list(value: Any) -> list[Any]:
  """What a caller gave, one thing or several, as a list."""
  return list(value) if is_several(value) else [value]


def drawings(
  texts: Sequence[str],
  pictures: Sequence[Sequence[Picture]],
  *,
  n: int,
  seed: int,
  negative: str,
) -> list[Drawing]:
  """`n` pictures of each pair of text and condition images.

  Raises:
    ValueError: as `paired`.
  """
  return [
    Drawing(text=text, pictures=shown, negative=negative, seed=seed + k)
    for text, shown in paired("text", texts, "image", pictures)
    for k in range(n)
  ]


def in_batches(
  rows: Sequence[Any], most: int, shares: int
) -> Iterator[list[Any]]:
  """Batches of few sizes, so few compilations; the last row fills up.

  Args:
    rows: of anything.
    most: size of the largest batch, a multiple of `shares`.
    shares: each batch has a multiple of so many rows.
  """
  size = 1 << max(len(rows) - 1, 0).bit_length()
  size = min(most, -(-size // shares) * shares)
  for start in range(0, len(rows), size):
    chunk = list(rows[start : start + size])
    yield chunk + chunk[-1:] * (size - len(chunk))


def paired(
  first_name: str,
  first: Sequence[Any],
  second_name: str,
  second: Sequence[Any],
) -> list[tuple[Any, Any]]:
  """Rows of two lists, of which one may stand for all of the other.

  Raises:
    ValueError: both are several, and not equally many.
  """
  count = max(len(first), len(second))
  if {len(first), len(second)} - {1, count}:
    raise ValueError(
      f"got {len(first)} of {first_name} and {len(second)} of {second_name},"
      " expected equally many, or one of either."
    )
  return [
    (first[i % len(first)], second[i % len(second)]) for i in range(count)
  ]
