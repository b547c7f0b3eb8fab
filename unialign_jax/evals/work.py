"""A benchmark on its files and settings: its pictures made, then scored."""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import folder
from unialign_jax.evals import generation
from unialign_jax.evals import results
from unialign_jax.evals import texts
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.use import settings as settings_lib


class Work:
  """What is to be done in one folder.

  Args:
    benchmark: which.
    out: the folder.
    data: the benchmark's official files.
    settings: of the benchmark.

  Attributes:
    benchmark, out: as given.
    wanted: all pictures.
    asked: all texts.

  Raises:
    ValueError: data or settings that the benchmark does not take.
  """

  def __init__(
    self,
    benchmark: benchmark_lib.Benchmark,
    out: pathlib.Path,
    data: pathlib.Path | None,
    settings: Mapping[str, Any],
  ):
    self.benchmark, self.out = benchmark, out
    self._data, self._settings = data, settings
    self.wanted = benchmark.wanted(data, settings)
    self.asked = (
      benchmark.asked(data, settings)
      if isinstance(benchmark, benchmark_lib.AsksTexts)
      else []
    )

  def generate(
    self,
    pipe: pipeline_lib.Pipeline,
    job: generation.Job,
    noted: Mapping[str, Any],
  ) -> int:
    """Makes this shard's pictures and texts.

    Args:
      pipe: the model.
      job: how; `job.out` is `out`.
      noted: for `settings.json`.

    Returns:
      How many could not be made.

    Raises:
      ValueError: the folder was begun with other settings, or another process
        is at this shard.
    """
    settings = {
      "benchmark": self.benchmark.name,
      "identity": job.model,
      "image": _chosen(pipe.image_settings, job.image),
      "text": _chosen(pipe.text_settings, job.text),
      "framing": job.framing,
    }
    noted = {**noted, "set": self._settings, "data": str(self._data or "")}
    changed = folder.open_settings(self.out, settings, noted)
    if changed:
      print(f"this folder was begun otherwise: {changed}", file=sys.stderr)
    with folder.locked(self.out, job.shard):
      return generation.pictures(pipe, self.wanted, job) + texts.write(
        pipe, self.asked, job
      )

  def finish(self) -> None:
    """Adds what the official scorer reads."""
    self.benchmark.finish(self.out, self._data, self._settings)

  def census(self) -> tuple[int, int]:
    """How many pictures and texts are there, and how many there should be."""
    written = texts.read(self.out)
    made = sum((self.out / one.path).is_file() for one in self.wanted)
    made += sum(one.key in written for one in self.asked)
    return made, len(self.wanted) + len(self.asked)

  def score(self, judge: judge_lib.Judge | None) -> results.Report:
    """Scores what is there."""
    made, wanted = self.census()
    result = self.benchmark.score(self.out, self._data, self._settings, judge)
    return results.Report(
      result=result,
      made=made,
      wanted=wanted,
      times=folder.times(self.out),
      settings=folder.read_settings(self.out),
      scored_with=self._settings,
    )


def _chosen(defaults: Any, given: Mapping[str, Any]) -> dict[str, Any]:
  """Settings as they are, and which of them the user gave."""
  chosen = dataclasses.asdict(settings_lib.changed(defaults, given))
  return chosen | {
    "given": sorted(k for k, v in given.items() if v is not None)
  }
