"""What lmms-eval wrote becomes columns of Table 1, and is said to be its."""

import copy
import json
import pathlib
from typing import Any

import pytest

from unialign_jax.evals.report import comparison
from unialign_jax.evals.report import lmms_eval
from unialign_jax.evals.report import report

_NAME = "20261126_130805_results.json"
# As 0.7.3 lays it out.
_FILE = {
  "results": {
    "mmbench_en_dev_static": {
      "alias": "mmbench_en_dev_static",
      "gpt_eval_score,none": 80.25,
      "gpt_eval_score_stderr,none": "N/A",
      "gpt_eval_score_stderr_clt,none": "N/A",
      "submission,none": None,
      "submission_stderr,none": "N/A",
    },
    "mmmu_val": {
      "alias": "mmmu_val",
      "mmmu_acc,none": 0.61333,
      "mmmu_acc_stderr,none": "N/A",
      "mmmu_acc_pass_at_k,none": [],
      "submission,none": [],
    },
    "mmvet": {
      "alias": "mmvet",
      "gpt_eval_score,none": 63.04,
      "gpt_eval_score_stderr_clt,none": 2.5,
    },
    "mmbench_en_dev_lite": {"gpt_eval_score,none": 12.0},
    "seedbench": {"seed_all,none": float("nan")},
  },
  "configs": {"mmvet": {"task": "mmvet", "metadata": {"version": 0.0}}},
  "versions": {"mmvet": 0.0},
  "n-shot": {"mmvet": 0},
  "n-samples": {
    "mmbench_en_dev_static": {"original": 4329, "effective": 4329},
    "mmmu_val": {"original": 900, "effective": 900},
    "mmvet": {"original": 218, "effective": 20},
    "mmbench_en_dev_lite": {"original": 500, "effective": 500},
    "seedbench": {"original": 3, "effective": 3},
  },
  "config": {
    "model": "unialign_jax",
    "model_args": "pretrained=runs/a,api_key=sk-123,report=lmms.json",
    "batch_size": "32",
    "limit": None,
    "resolved_cli_args": {"seed": [0, 1234]},
  },
  "git_hash": "0123456",
  "model_source": "unialign_jax",
  "model_name": "runs/a",
}


def _write(path: pathlib.Path, fields: Any) -> pathlib.Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(fields))
  return path


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
  """A folder of --output_path, with what a task writes beside the results."""
  _write(tmp_path / "lmms" / "runs__a" / _NAME, _FILE)
  _write(
    tmp_path / "lmms/submissions/mmbench_en_dev_static_results.json",
    {"overall_acc": 0.8, "category_acc": {}, "l2_category_acc": {}},
  )
  return tmp_path


def test_table_1_has_its_numbers(root: pathlib.Path):
  table = comparison.overview(report.read(root).placed)
  (row,) = (row for row in table.rows if row[0] == "runs/a")
  cells = {k: v for k, v in zip(table.head, row) if v != "-"}
  assert cells == {
    "": "runs/a",
    "MMB": "80.2",
    "MMMU": "61.3",
    "MM-Vet": "63.0",
  }


def test_it_is_said_whose_numbers_they_are(root: pathlib.Path):
  by_task, others = lmms_eval.read(root / "lmms" / "runs__a" / _NAME)
  assert others == ["mmbench_en_dev_lite", "seedbench"]
  assert {name: one.result.benchmark for name, one in by_task.items()} == {
    "mmbench_en_dev_static": "mmbench",
    "mmmu_val": "mmmu",
    "mmvet": "mmvet",
  }
  assert all(one.result.official for one in by_task.values())
  said = " ".join(by_task["mmvet"].result.notes)
  assert "Scored by lmms-eval itself" in said and "20 of 218" in said
  assert "random option" not in said and "MODEL_VERSION" in said
  said = " ".join(by_task["mmmu_val"].result.notes)
  assert "random option" in said and "Only" not in said
  report.write(root)
  for name in ("report.md", "report.html"):
    text = (root / name).read_text(encoding="utf-8").replace("\\", "")
    assert "lmms-eval, task mmvet (the official scorer)" in text
    assert "20 of 218 questions were asked" in text
    assert "left out: mmbench_en_dev_lite" in text and "seedbench" in text
    assert "pretrained=runs/a" in text and "sk-123" not in text


def test_a_second_run_has_a_row_of_its_own(root: pathlib.Path):
  _write(root / "lmms" / "runs__a" / _NAME.replace("2026", "2027"), _FILE)
  table = comparison.overview(report.read(root).placed)
  names = [row[0] for row in table.rows if row[0].startswith("runs/a")]
  later = _NAME.replace("2026", "2027")
  assert names == ["runs/a", f"runs/a, lmms/runs__a/{later}"]


def test_two_tasks_of_one_benchmark_have_a_row_each(tmp_path: pathlib.Path):
  fields = copy.deepcopy(_FILE)
  for part in ("results", "n-samples"):
    fields[part]["mmbench_en_dev"] = fields[part]["mmbench_en_dev_static"]
  _write(tmp_path / _NAME, fields)
  table = comparison.overview(report.read(tmp_path).placed)
  shown = [row[0] for row in table.rows if row[0].startswith("runs/a")]
  assert shown == ["runs/a", f"runs/a, {_NAME}"]


def test_a_file_without_tasks_of_the_paper_is_named(tmp_path: pathlib.Path):
  fields = _FILE | {"results": {"seedbench": {"seed_all,none": 0.5}}}
  _write(tmp_path / _NAME, fields)
  with pytest.raises(ValueError, match=r"left out: seedbench \(2026"):
    report.read(tmp_path)


def _without(*keys: str) -> dict[str, Any]:
  fields = copy.deepcopy(_FILE)
  inner = fields
  for key in keys[:-1]:
    inner = inner[key]
  del inner[keys[-1]]
  return fields


def _with_score(value: Any) -> dict[str, Any]:
  fields = copy.deepcopy(_FILE)
  fields["results"]["mmvet"]["gpt_eval_score,none"] = value
  return fields


@pytest.mark.parametrize(
  "fields, message",
  [
    ([1], "got no results of lmms-eval"),
    ({}, "no 'results'"),
    (_without("config"), "no 'config'"),
    (_without("n-samples", "mmvet"), "no 'mmvet'"),
    (_without("n-samples", "mmvet", "effective"), "no 'effective'"),
    (_without("results", "mmmu_val", "mmmu_acc,none"), "no 'mmmu_acc,none'"),
    (_with_score("N/A"), "'N/A', expected a number"),
    (_with_score(True), "True, expected a number"),
    (_with_score(float("nan")), "nan, expected a finite number"),
    (_FILE | {"results": [1]}, "got no results of lmms-eval"),
    (_FILE | {"results": {"mmvet": 1}}, "got no results of lmms-eval"),
    (_FILE | {"n-samples": {"mmvet": None}}, "got no results of lmms-eval"),
    (_FILE | {"config": None}, "got no results of lmms-eval"),
  ],
)
def test_damaged_files_are_named(tmp_path: pathlib.Path, fields, message: str):
  _write(tmp_path / _NAME, fields)
  with pytest.raises(ValueError, match=message) as raised:
    report.read(tmp_path)
  assert str(tmp_path / _NAME) in str(raised.value)


def test_half_a_file_is_named(tmp_path: pathlib.Path):
  (tmp_path / _NAME).write_text(json.dumps(_FILE)[:200])
  with pytest.raises(ValueError, match=f"{_NAME}: got no results of lmms-eval"):
    report.read(tmp_path)
