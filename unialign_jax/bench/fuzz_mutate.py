"""Damages bytes at random, in the ways that break readers of files."""

import random
from collections.abc import Sequence

_MOST_CHANGES = 6
_LONGEST_SPAN = 64
# Sizes and offsets at which arithmetic goes wrong.
_NUMBERS = (
  *(0, 1, -1, 2, 127, 128, 255, 256),
  *(2**15 - 1, 2**15, 2**16 - 1, 2**16),
  *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1),
)


def mutate(
  data: bytes,
  rng: random.Random,
  *,
  others: Sequence[bytes] = (),
  tokens: Sequence[bytes] = (),
) -> bytes:
  """`data` with one to six changes.

  Args:
    data: Of a whole file or record.
    rng: Chooses the changes.
    others: Of the same format; parts of them may be put in.
    tokens: Words of the format, that may be put in.

  Returns:
    Other bytes, at most some hundreds longer or as long as two inputs.
  """
  changed = bytearray(data)
  for _ in range(rng.randint(1, _MOST_CHANGES)):
    kind = rng.choice(_CHANGES)
    if kind is _splice:
      kind(changed, rng, others)
    elif kind is _token:
      kind(changed, rng, tokens)
    else:
      kind(changed, rng)
  return bytes(changed)


def _span(data: bytearray, rng: random.Random) -> slice:
  start = rng.randint(0, len(data))
  return slice(start, min(len(data), start + rng.randint(1, _LONGEST_SPAN)))


def _flip(data: bytearray, rng: random.Random) -> None:
  if data:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random) -> None:
  if data:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))


def _number(data: bytearray, rng: random.Random) -> None:
  width = rng.choice((2, 4, 8))
  value = rng.choice(_NUMBERS) % 2 ** (8 * width)
  place = rng.randint(0, len(data))
  order = rng.choice(("little", "big"))
  data[place : place + width] = value.to_bytes(width, order)


def _remove(data: bytearray, rng: random.Random) -> None:
  del data[_span(data, rng)]


def _repeat(data: bytearray, rng: random.Random) -> None:
  span = _span(data, rng)
  data[span.start : span.start] = data[span] * rng.randint(1, 4)


def _insert(data: bytearray, rng: random.Random) -> None:
  place = rng.randint(0, len(data))
  data[place:place] = rng.randbytes(rng.randint(1, 16))


def _zero(data: bytearray, rng: random.Random) -> None:
  span = _span(data, rng)
  data[span] = bytes(span.stop - span.start)


def _cut(data: bytearray, rng: random.Random) -> None:
  del data[rng.randint(0, len(data)) :]


def _move(data: bytearray, rng: random.Random) -> None:
  span = _span(data, rng)
  piece = data[span]
  del data[span]
  place = rng.randint(0, len(data))
  data[place:place] = piece


def _splice(
  data: bytearray, rng: random.Random, others: Sequence[bytes]
) -> None:
  """The beginning of one and the end of another."""
  if others:
    other = rng.choice(others)
    data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]


def _token(
  data: bytearray, rng: random.Random, tokens: Sequence[bytes]
) -> None:
  if tokens:
    token = rng.choice(tokens)
    place = rng.randint(0, len(data))
    is_over = rng.random() < 0.5
    data[place : place + len(token) * is_over] = token


_CHANGES = (
  *(_flip, _byte, _number, _number, _remove, _repeat, _insert, _zero),
  *(_cut, _move, _splice, _token, _token),
)
