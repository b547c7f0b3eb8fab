"""`python -m unialign_jax.export`: the command, and what it refuses."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors

from tests.convert import exporting
from unialign_jax.convert import run_weights


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return exporting.write_run(tmp_path_factory.mktemp("runs") / "run")


def _run(*arguments: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-m", "unialign_jax.export", *arguments],
    capture_output=True,
    text=True,
    timeout=300,
  )


def test_the_command_writes_a_folder(
  workdir: pathlib.Path, tmp_path: pathlib.Path
):
  out = tmp_path / "new/out"
  done = _run(
    f"--checkpoint={workdir}@0",
    f"--out={out}",
    "--target=diffusers",
    "--dtype=bf16",
  )
  assert done.returncode == 0, done.stderr
  assert "step 0 of" in done.stdout
  index = json.loads((out / "model_index.json").read_text())
  for name, value in index.items():
    if isinstance(value, list) and name != "_class_name":
      assert (out / name).is_dir(), name
  assert (out / f"{index['_class_name'][0]}.py").exists()
  assert (out / f"transformer/{index['transformer'][0]}.py").exists()
  file = out / "transformer/diffusion_pytorch_model.safetensors"
  with safetensors.safe_open(file, framework="numpy") as opened:
    assert opened.metadata()["step"] == "0"
    assert opened.get_tensor("text_proj_out.bias").dtype.name == "bfloat16"


def test_a_mistake_is_one_message(
  workdir: pathlib.Path, tmp_path: pathlib.Path
):
  (tmp_path / "used").write_text("mine")
  done = _run(
    f"--checkpoint={workdir}",
    f"--out={tmp_path / 'used'}",
    "--target=diffusers",
  )
  assert done.returncode == 1
  assert done.stderr.startswith("error: --out:")
  assert "Traceback" not in done.stderr
  assert (tmp_path / "used").read_text() == "mine"


def test_reads_the_step_that_is_named(workdir: pathlib.Path):
  _, want = exporting.small()
  for name in (str(workdir), f"{workdir}@0"):
    config, params, run, step = run_weights.read(name, ema=True)
    assert (run, step) == ("/".join(workdir.parts[-2:]), 0)
    assert config.model.width == 32
    np.testing.assert_array_equal(
      params["text_head"]["proj"]["bias"], want["text_head"]["proj"]["bias"]
    )


@pytest.mark.parametrize(
  "suffix, message",
  [("@5", r"has checkpoints \[0\], expected 5"), ("-no", "is no folder")],
)
def test_no_such_checkpoint(workdir: pathlib.Path, suffix: str, message: str):
  with pytest.raises(ValueError, match=message):
    run_weights.read(f"{workdir}{suffix}", ema=True)


# orbax leaves an event loop behind where a read fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["truncated", "deleted", "config"])
def test_a_damaged_checkpoint_is_one_message(
  workdir: pathlib.Path, tmp_path: pathlib.Path, damage: str
):
  copied = tmp_path / "run"
  shutil.copytree(workdir, copied)
  state = copied / "checkpoints/step_00000000/state"
  if damage == "config":
    (copied / "config.json").write_text("{")
  for file in state.rglob("*"):
    # The data of all arrays lies in files named d/...
    if file.is_file() and file.parent.name == "d":
      if damage == "truncated":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
      elif damage == "deleted":
        file.unlink()
  with pytest.raises(ValueError, match=r"cannot be read .* Copy") as e:
    run_weights.read(str(copied), ema=True)
  assert "\n" not in str(e.value)
