"""The train step side by side, as the command runs it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.bench import small_step
from unialign_jax import config as config_lib
from unialign_jax.bench import torch_forms
from unialign_jax.bench import train_report
from unialign_jax.training import flops

WORK = train_report.Work(images=4, tokens=100, flops=2e9)


def _run(*args: str, folder: pathlib.Path) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-m", "unialign_jax.bench", "train", *args],
    env={**os.environ, "TMPDIR": str(folder)},
    capture_output=True,
    text=True,
  )


def test_command(tmp_path: pathlib.Path) -> None:
  scratch, file = tmp_path / "scratch", tmp_path / "out.json"
  scratch.mkdir()
  done = _run(
    *small_step.flags(),
    *("--dtypes=float32", "--repeats=2", "--conditions=1"),
    *(f"--json={file}", f"--plot={tmp_path / 'out'}"),
    folder=scratch,
  )
  assert done.returncode == 0, done.stderr
  assert "| jax | float32 |" in done.stdout
  result = json.loads(file.read_text())
  (form,) = result["forms"]
  assert len(form["steps"]) == 2
  assert form["median"] == sum(form["steps"]) / 2
  assert form["images_per_second"] == pytest.approx(4 / form["median"])
  # A start that finds everything compiled compiles nothing.
  assert form["cold"]["compiled"] == form["warm"]["loaded"] > 1
  assert form["warm"]["compiled"] == form["cold"]["loaded"] == 0
  assert form["compile_seconds"] > max(form["steps"])
  assert form["peak"] > 2**26
  # (1 + 1) x 4 image tokens and 8 of the text; 4 and 8.
  assert result["work"]["tokens"] == 4 * (8 + 8 + 4 + 8)
  assert (tmp_path / "out").read_bytes().startswith(b"\x89PNG")
  assert not list(scratch.iterdir())


def _form(name: str, dtype: str, seconds: float) -> train_report.Form:
  return train_report.Form(
    name=name, dtype=dtype, steps=[seconds, seconds, 50.0]
  )


def test_the_ratios() -> None:
  forms = [_form("jax", "float32", 2.0), _form("jax", "bfloat16", 1.0)]
  assert "times" not in train_report.table(forms, WORK)
  forms += [
    _form("torch eager", "float32", 8.0),
    _form("torch compiled", "float32", 5.0),
    _form("torch eager", "bfloat16", 4.0),
    train_report.Form(name="torch compiled", dtype="bfloat16", failed="no g++"),
  ]
  text = train_report.table(forms, WORK)
  assert (
    "jax float32: 4.00 times as fast as eager float32 PyTorch, 2.50 times as"
    " its fastest in float32 (torch compiled, float32), 2.00 times as its"
    " fastest of all (torch eager, bfloat16)"
  ) in text
  assert "jax bfloat16: 8.00 times" in text
  assert "| torch compiled | bfloat16 | failed |" in text
  assert "torch compiled bfloat16: failed: no g++" in text
  # The slow step moves no median.
  assert "2.000 (2.000 to 50.000) | 2.00 | 50 | 1.0 |" in text
  train_report.draw(forms)


def test_mfu_is_told_where_the_peak_is_known() -> None:
  form = train_report.Form(
    name="jax", dtype="bfloat16", steps=[2.0], peak_flops=4e9
  )
  text = train_report.table([form], WORK)
  assert "MFU" in text
  assert "| 25.0% |" in text
  assert train_report.tree([form], WORK)["forms"][0]["mfu"] == 0.25


def test_t5_in_the_step_is_counted() -> None:
  stored = train_report.work(small_step.config(), 1)
  online = small_step.config(data={"text_features": "online"})
  assert stored.flops == flops.train_step(
    online.model, batch_size=4, target_tokens=4, num_cond=1, text_tokens=8
  )
  assert train_report.work(online, 1).flops > 100 * stored.flops  # T5-XXL


def test_a_difference_is_an_error() -> None:
  expected = [{"loss/total": 2.0, "skipped": 0.0}, {"loss/total": 1.0}]
  near = [{"loss/total": 2.0}, {"loss/total": 1.00005}]
  compare = torch_forms.compare
  assert compare(near, expected, "float32") == pytest.approx(5e-5)
  assert compare([{"grad_norm": 1.0005}], [{"grad_norm": 1.0}], "float32")
  # The InfoNCE of one pair is zero.
  assert compare([{"loss/cross": 1e-7}], [{"loss/cross": 0.0}], "float32")
  for wrong, dtype in (
    (1.0002, "float32"),
    (1.02, "bfloat16"),
    (float("nan"), "bfloat16"),
  ):
    with pytest.raises(ValueError, match=r"loss/total of step 1: got"):
      compare([{"loss/total": 2.0}, {"loss/total": wrong}], expected, dtype)
  with pytest.raises(ValueError, match="grad_norm of step 0: got"):
    compare([{"grad_norm": 1.002}], [{"grad_norm": 1.0}], "float32")
  with pytest.raises(ValueError, match="zip"):
    compare(near[:1], expected, "float32")


def test_shipped_configs() -> None:
  for name in ("bench.py", "bench.py:small"):
    config_lib.from_dict(config_lib.load_file(name))
  with pytest.raises(ValueError, match="got variant 'large'"):
    config_lib.load_file("bench.py:large")


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--dtypes=float8"], "--dtypes: got ['float8']"),
    (["--conditions=9"], "config.data.max_cond = 4"),
    (["--plot=/no/such/folder/a.png"], "expected an existing folder"),
    (
      ["--against=torch", "--config.loss.flow_space=x0"],
      "config.loss.flow_space: got 'x0', expected 'velocity'",
    ),
  ],
)
def test_wrong_flags(
  tmp_path: pathlib.Path, flags: list[str], message: str
) -> None:
  done = _run(*flags, folder=tmp_path)
  assert done.returncode == 1
  assert message in done.stderr
  assert "Traceback" not in done.stderr
