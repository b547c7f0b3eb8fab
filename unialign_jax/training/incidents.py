"""Steps whose update was left out: incidents.jsonl says what they were made of.

The step itself leaves the update out (`training/step.py`) and counts; here its
counters are read, one step behind. They are the same on every process, so all
of them gather the records of such a step.
"""

import dataclasses
import pathlib
import time
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from unialign_jax.training import lines

FILE = "incidents.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """Where a batch came from.

  Attributes:
    index: its number among the global batches of the data.
    source: feature set, as `config.data.sources` has it.
    record_ids: int64 [b], of this process's part, within the feature set.
  """

  index: int
  source: str
  record_ids: np.ndarray

  def all_record_ids(self) -> list[int]:
    """Of the global batch. Every process has to ask."""
    ids = self.record_ids.astype(np.int32)  # what JAX gathers without x64
    if jax.process_count() > 1:
      ids = multihost_utils.process_allgather(ids)
    return np.asarray(ids).reshape(-1).tolist()


class Incidents:
  """Reads the counters of a run's steps, and writes incidents.jsonl."""

  def __init__(self, workdir: pathlib.Path, *, active: bool):
    """Has read nothing yet; see `begin`.

    Args:
      workdir: of the run.
      active: whether this process writes.
    """
    self.path = workdir / FILE
    self._active = active
    self._counted: dict[str, int] = {}

  def begin(self, *, skipped: int, spikes: int) -> None:
    """Goes on from a state with these counters."""
    self._counted = {"non_finite": skipped, "spike": spikes}

  def read(
    self, step: int, values: dict[str, float], origin: Origin
  ) -> str | None:
    """Notes the step if its update was left out.

    Args:
      step: whose metrics these are.
      values: the metrics.
      origin: of its batch.

    Returns:
      "non_finite" or "spike"; None for a step with an update.
    """
    counted = {
      "non_finite": int(values["skipped"]),
      "spike": int(values["spikes"]),
    }
    kinds = [k for k, count in counted.items() if count > self._counted[k]]
    self._counted = counted
    if not kinds:
      return None
    losses = {k: v for k, v in values.items() if k.startswith("loss/")}
    more = {k: values[k] for k in ("grad_norm", "spike_limit") if k in values}
    self.write(
      step,
      kinds[0],
      **losses,
      **more,
      batch=origin.index,
      source=origin.source,
      record_ids=origin.all_record_ids(),
    )
    return kinds[0]

  def write(self, step: int, kind: str, **values: Any) -> None:
    """Adds a line."""
    if self._active:
      record = {"step": step, "time": round(time.time(), 3), "kind": kind}
      lines.append(self.path, record | values)
