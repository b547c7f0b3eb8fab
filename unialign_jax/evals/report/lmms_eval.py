"""What lmms-eval wrote (`DATE_TIME_results.json`), as results of this package.

Of its tasks those that Table 1 of the paper has: MMBench, MMMU and MM-Vet.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from unialign_jax import strict_json
from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import results

# Tasks write files that end alike: submissions/mmbench_en_dev_results.json.
_NAME = re.compile(r"\d{8}_\d{6}_results\.json")
_SETTINGS = ("model", "model_args", "batch_size", "limit", "gen_kwargs")
_SECRET = re.compile(r"((?:key|token|secret|password)\w*=)[^,]*", re.IGNORECASE)
_HARNESS = (
  "Scored by lmms-eval itself, which records a model by its name alone. Which"
  " harness the paper used is not known, and harnesses differ by points."
)
_RANDOM = "A choice that no rule can read is a random option in lmms-eval."
_JUDGE = "The judge is that of MODEL_VERSION, which the file does not say."


@dataclasses.dataclass(frozen=True)
class _Task:
  """How a task of lmms-eval becomes a column of Table 1.

  Attributes:
    benchmark: of `paper_tables.OVERVIEW`.
    metric: of lmms-eval.
    scale: makes it what the paper prints, 0 to 100.
    notes: what a reader must know.
  """

  benchmark: str
  metric: str
  scale: float
  notes: tuple[str, ...]


_TASKS = {
  "mmbench_en_dev": _Task("mmbench", "gpt_eval_score", 1, (_RANDOM, _JUDGE)),
  "mmbench_en_dev_static": _Task("mmbench", "gpt_eval_score", 1, (_RANDOM,)),
  "mmmu_val": _Task("mmmu", "mmmu_acc", 100, (_RANDOM,)),
  "mmvet": _Task("mmvet", "gpt_eval_score", 1, (_JUDGE,)),
}
GROUP, METRIC = "Overall", "score"


def find(root: pathlib.Path) -> list[pathlib.Path]:
  """lmms-eval's files below a folder, sorted."""
  paths = root.rglob("*_results.json")
  return sorted(p for p in paths if _NAME.fullmatch(p.name) and p.is_file())


def read(path: pathlib.Path) -> tuple[dict[str, results.Report], list[str]]:
  """The results in a file by task, and the tasks that are left out.

  Raises:
    ValueError: it is damaged, or of another form.
  """
  try:
    # NaN is a number of some tasks; those that are read here are looked at.
    fields = strict_json.row(path.read_bytes())
    tasks = fields["results"].keys()
    known = {name: _report(name, fields) for name in tasks if name in _TASKS}
    return known, [name for name in tasks if name not in _TASKS]
  except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f"{path}: got no results of lmms-eval ({_said(error)}); run it again, or"
      " take the file away."
    ) from error


def _report(name: str, fields: Mapping[str, Any]) -> results.Report:
  task = _TASKS[name]
  counts = fields["n-samples"][name]
  scored, expected = _count(counts["effective"]), _count(counts["original"])
  score = benchmark_lib.Score(
    group=GROUP,
    metric=METRIC,
    value=task.scale * _number(name, fields["results"][name], task.metric),
    scored=scored,
    expected=expected,
  )
  return results.Report(
    result=benchmark_lib.Result(
      benchmark=task.benchmark,
      protocol=name,
      official=True,
      scorer=f"lmms-eval, task {name}",
      scores=[score],
      notes=[_HARNESS, *task.notes, *_limited(scored, expected)],
    ),
    made=scored,
    wanted=expected,
    settings=_settings(fields),
  )


def _number(name: str, scores: Mapping[str, Any], metric: str) -> float:
  value = scores[f"{metric},none"]
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise ValueError(f"{name}: {metric} is {value!r}, expected a number")
  if not math.isfinite(value):
    raise ValueError(f"{name}: {metric} is {value}, expected a finite number")
  return float(value)


def _count(value: Any) -> int:
  if type(value) is not int or value < 0:
    raise ValueError(f"n-samples: got {value!r}, expected a count")
  return value


def _limited(scored: int, expected: int) -> list[str]:
  if scored == expected:
    return []
  return [
    f"Only {scored} of {expected} questions were asked, so this is not a number"
    " of the benchmark."
  ]


def _settings(fields: Mapping[str, Any]) -> dict[str, Any]:
  """What made them, with the model where `comparison.model_name` looks."""
  config = fields["config"]
  arguments = _SECRET.sub(r"\1...", str(config.get("model_args") or ""))
  told = {name: config[name] for name in _SETTINGS if name in config}
  model = fields.get("model_name") or config["model"]
  return {
    "noted": {"model": str(model)},
    "lmms-eval": told | {"model_args": arguments},
  }


def _said(error: Exception) -> str:
  return f"no {error}" if isinstance(error, KeyError) else str(error)
