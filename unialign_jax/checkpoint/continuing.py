"""What a config may change where a run goes on, and what comes of it.

The position of the data is one number: the examples of all sources that lie
before the next one. Weights and batch size say how far that is in each source,
`data.shuffle_seed` which record lies there. With another batch size or seed
records would come again in their epoch, or not at all, so both are refused,
but for a batch size that leaves every source where it is. Another mixture may
be what is wanted: what it does to each source is told. So is every other key
that makes another run of what follows.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from unialign_jax.data import mixture

_GROUPS = ("data", "diffusion", "loss", "optimizer")
# Keys of theirs that change how records are read, not which ones.
_FREE = (
  "data.num_threads",
  "data.prefetch_batches",
  "data.max_damaged_records",
)
_SIZE, _ORDER, _MIXTURE = "data.batch_size", "data.shuffle_seed", "data.sources"
_CONSEQUENCES = {
  _SIZE: ": each source goes on where it was",
  "seed": ": noise, times and masks to come are others",
}

Changes = Mapping[str, tuple[Any, Any]]
Place = tuple[str, int]  # name of a source, position in its stream


def changes(config: Mapping[str, Any], saved: Mapping[str, Any]) -> Changes:
  """Keys that make another run of what follows: what was saved, what is asked.

  Args:
    config: as `config_lib.dumps` has it.
    saved: the same, of the checkpoint; keys that came since are not compared.
  """
  pairs = {"seed": (saved.get("seed"), config["seed"])}
  for group in _GROUPS:
    old = saved.get(group, {})
    pairs |= {
      f"{group}.{key}": (old[key], value)
      for key, value in config[group].items()
      if key in old
    }
  return {
    key: (old, new)
    for key, (old, new) in pairs.items()
    if old != new and key not in _FREE
  }


def refusals(
  changed: Changes,
  saved: Mapping[str, Any],
  examples: int,
  *,
  is_rewound: bool = False,
) -> str:
  """Why records would come again or be left out; "" where none would.

  Args:
    changed: as `changes` has it.
    saved: the config of the checkpoint.
    examples: position of the checkpoint.
    is_rewound: whether a rewind to it is remembered, which counts batches.
  """
  found = []
  if _ORDER in changed:
    found.append((_ORDER, "records would come in another order"))
  if _SIZE in changed:
    data = saved["data"]
    size = changed[_SIZE][1]
    old = _places(data["sources"], data["batch_size"], examples)
    new = _places(data["sources"], size, examples)
    if examples % size:
      reason = f"{examples} examples are taken, no multiple of it"
      found.append((_SIZE, reason))
    elif old != new:
      found.append((_SIZE, "; ".join(_moves(old, new))))
    elif is_rewound:
      found.append((_SIZE, "rewinds.jsonl counts batches of the former size"))
  return "\n".join(
    f"  config.{key}: got {changed[key][1]!r}, the run has"
    f" {changed[key][0]!r}: {reason}"
    for key, reason in found
  )


def told(
  changed: Changes,
  config: Mapping[str, Any],
  saved: Mapping[str, Any],
  examples: int,
) -> list[str]:
  """One line a key, for a run that goes on.

  Args:
    changed: as `changes` has it.
    config: of what follows.
    saved: the config of the checkpoint.
    examples: position of the checkpoint.
  """
  lines = []
  for key, (old, new) in changed.items():
    consequence = _CONSEQUENCES.get(key, "")
    if key == _MIXTURE:
      moves = _moves(
        _places(old, saved["data"]["batch_size"], examples),
        _places(new, config["data"]["batch_size"], examples),
      )
      consequence = ": " + ("; ".join(moves) or "each goes on where it was")
    lines.append(f"config.{key}: {old!r} -> {new!r}{consequence}")
  return lines


def _places(
  sources: Sequence[Sequence[Any]], batch_size: int, examples: int
) -> list[Place]:
  """Where each source is when so many examples of all are taken."""
  order = mixture.StepOrder([weight for _, weight in sources])
  drawn = order.drawn_before(examples // batch_size)
  return [
    (name, steps * batch_size) for (name, _), steps in zip(sources, drawn)
  ]


def _moves(old: Sequence[Place], new: Sequence[Place]) -> list[str]:
  """What becomes of each source that does not go on where it was."""
  found = []
  # The same folder may be in the list more than once.
  left = list(enumerate(old))
  for index, (name, place) in enumerate(new):
    same = [entry for entry in left if entry[1][0] == name]
    if not same:
      found.append(f"{name} is new, and begins with example {place}")
      continue
    entry = min(same, key=lambda entry: abs(entry[0] - index))
    left.remove(entry)
    former, (_, before) = entry
    if former != index:
      found.append(
        f"{name} was source {former} and is {index}: its records come in"
        f" another order, from example {place} on (it was at {before})"
      )
    elif place < before:
      found.append(
        f"{name} goes back from example {before} to {place}:"
        f" {before - place} come again"
      )
    elif place > before:
      found.append(
        f"{name} goes from example {before} to {place}: {place - before} are"
        " left out"
      )
  found += [
    f"{name} is no longer there (it was at example {place})"
    for _, (name, place) in left
  ]
  return found
