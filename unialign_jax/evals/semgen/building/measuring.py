"""Measures a pool of photographs, and keeps what it has measured."""

import collections
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm

from unialign_jax.evals.semgen.building import clusters
from unialign_jax.evals.semgen.building import filters
from unialign_jax.evals.semgen.building import pool
from unialign_jax.vlm import journal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
  """The part of a pool that may be chosen from.

  Attributes:
    candidates: in the order of the pool.
    measured: of each.
    counts: of all of the pool, by reason; "fit" for these.
  """

  candidates: Sequence[pool.Candidate]
  measured: Sequence[filters.Measured]
  counts: dict[str, int]


def fit(
  candidates: Sequence[pool.Candidate],
  bounds: filters.Bounds,
  path: pathlib.Path,
  *,
  most: int = clusters.MOST,
  seed: int = 0,
) -> Fit:
  """Measures a pool; what an earlier run has measured is read.

  Args:
    candidates: the pool.
    bounds: of what is fit.
    path: of the file that measurements are kept in.
    most: where more are fit, so many of them are drawn.
    seed: of that draw.
  """
  kept = journal.Journal(path)
  try:
    known = _known(kept, bounds)
    measured = []
    for one in tqdm.tqdm(candidates, unit="photograph", smoothing=0):
      found = known.get(one.name)
      if found is None:
        found = filters.measure(one, bounds)
        kept.add({"name": one.name, **dataclasses.asdict(found), **_id(bounds)})
      measured.append(found)
  finally:
    kept.close()
  counts = collections.Counter(one.reason or "fit" for one in measured)
  good = np.flatnonzero([not one.reason for one in measured])
  if len(good) > most:
    drawn = np.random.default_rng(seed).choice(good, most, replace=False)
    counts["not drawn"] = len(good) - most
    counts["fit"], good = most, np.sort(drawn)
  return Fit(
    candidates=[candidates[i] for i in good],
    measured=[measured[i] for i in good],
    counts=dict(sorted(counts.items())),
  )


def _id(bounds: filters.Bounds) -> dict[str, str]:
  """What measurements are of, beside the photograph."""
  text = json.dumps(dataclasses.asdict(bounds), sort_keys=True)
  return {"bounds": hashlib.sha256(text.encode()).hexdigest()[:16]}


def _known(
  kept: journal.Journal, bounds: filters.Bounds
) -> dict[str, filters.Measured]:
  """By name, of the same bounds.

  Raises:
    ValueError: a line that is none.
  """
  wanted, known = _id(bounds)["bounds"], {}
  for number, line in enumerate(kept.lines(), start=1):
    try:
      row: dict[str, Any] = json.loads(line)
      name, of = row.pop("name"), row.pop("bounds")
      if of == wanted:
        known[name] = filters.Measured(**row)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise ValueError(
        f"{kept.path}, line {number}: got {line[:80]!r}, expected a"
        " measurement; delete the file to have all measured anew"
      ) from error
  return known
