"""The loop end to end: resume, signals, files, bad input."""

import json
import os
import pathlib
import signal

import jax
import ml_collections
import numpy as np
import pytest

from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.training import loop
from unialign_jax.training import setup


def _run(values: ml_collections.ConfigDict, workdir: pathlib.Path) -> int:
  return loop.run(config_lib.from_dict(values), workdir)


def _lines(workdir: pathlib.Path) -> dict[int, dict]:
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return {line["step"]: line for line in map(json.loads, lines)}


@pytest.fixture(scope="module")
def straight(
  features: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  """Six steps without a break, with samples at the end."""
  values = config_lib.load_file("tiny.py")
  values.data.sources = (
    (str(features / "train/text_to_image"), 0.5),
    (str(features / "train/edit"), 0.5),
  )
  values.sample.sources = (str(features / "validation/edit"),)
  values.mesh.data = -1
  values.train.sample_every = 6
  workdir = tmp_path_factory.mktemp("straight")
  assert _run(values, workdir) == 6
  return workdir


def test_run_leaves_config_metrics_events_checkpoints_samples(
  straight: pathlib.Path,
) -> None:
  lines = _lines(straight)
  assert sorted(lines) == [1, 2, 3, 4, 5, 6]
  assert all(np.isfinite(line["loss/total"]) for line in lines.values())
  saved = json.loads((straight / "config.json").read_text())
  assert config_lib.from_dict(saved).train.steps == 6
  assert list(straight.glob("events.*"))
  assert len(list((straight / "checkpoints").glob("step_*"))) == 2
  assert (straight / "samples/step_00000006_edit.png").stat().st_size > 1000
  texts = (straight / "samples/step_00000006_edit.txt").read_text()
  assert len(texts.splitlines()) == 2 and " -> " in texts


def test_six_steps_equal_three_and_a_signal_and_three(
  tiny: ml_collections.ConfigDict,
  straight: pathlib.Path,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  seen = []

  def interrupt(self: loop._Meter, step: int, *rest: object) -> None:
    seen.append(step)
    if len(seen) == 3:
      os.kill(os.getpid(), signal.SIGTERM)
    add(self, step, *rest)

  add = loop._Meter.add
  tiny.train.checkpoint_every = 1000
  monkeypatch.setattr(loop._Meter, "add", interrupt)
  assert _run(tiny, tmp_path) == 3
  monkeypatch.setattr(loop._Meter, "add", add)
  assert _run(tiny, tmp_path) == 6
  whole, broken = _lines(straight), _lines(tmp_path)
  for step in range(1, 7):
    for name in ("loss/total", "grad_norm", "loss/cross"):
      assert whole[step][name] == broken[step][name], (step, name)
  _, expected = checkpoint.load_params(straight)
  _, got = checkpoint.load_params(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_finished_run_takes_no_step(
  tiny: ml_collections.ConfigDict, straight: pathlib.Path
) -> None:
  before = (straight / "metrics.jsonl").read_text()
  tiny.train.sample_every = 0
  assert _run(tiny, straight) == 6
  assert (straight / "metrics.jsonl").read_text() == before


def test_checkpoint_restores_on_another_mesh(
  tiny: ml_collections.ConfigDict,
  straight: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  tiny.mesh.update(data=2, fsdp=2, tensor=2)
  parts = setup.prepare(config_lib.from_dict(tiny))
  saved = checkpoint.Checkpoints(straight, parts.config)
  state, position = saved.restore(parts.abstract_state)
  saved.close()
  parts.batches.close()
  assert int(state.step) == 6 and position == {"global_next_index": 48}
  kernel = state.params["blocks"]["image"]["mlp_in"]["kernel"]
  assert kernel.sharding.spec == jax.P(None, "fsdp", "tensor")
  _, expected = checkpoint.load_params(straight)
  jax.tree.map(
    np.testing.assert_array_equal, jax.device_get(state.ema), expected
  )


def test_workdir_of_another_model_is_refused(
  tiny: ml_collections.ConfigDict, straight: pathlib.Path
) -> None:
  tiny.model.width = 64
  with pytest.raises(ValueError, match=r"model\.width: got 64, the run has 32"):
    _run(tiny, straight)


def test_feature_set_of_another_resolution_is_refused(
  tiny: ml_collections.ConfigDict, tmp_path: pathlib.Path
) -> None:
  tiny.data.resolution = 128
  with pytest.raises(ValueError, match=r"latent_shape.*data\.resolution"):
    _run(tiny, tmp_path)
  assert not (tmp_path / "checkpoints").exists()


def test_feature_set_of_another_tokenizer_is_refused(
  tiny: ml_collections.ConfigDict, tmp_path: pathlib.Path
) -> None:
  tiny.model.vocab_size = 300
  with pytest.raises(ValueError, match=r"vocab_size: got 230, expected 300"):
    _run(tiny, tmp_path)


def test_batch_that_the_mesh_cannot_share_is_refused(
  tiny: ml_collections.ConfigDict, tmp_path: pathlib.Path
) -> None:
  tiny.data.batch_size = 12
  with pytest.raises(ValueError, match=r"batch_size: got 12.*multiple of 8"):
    _run(tiny, tmp_path)


def test_samples_without_encoders_are_refused(
  tiny: ml_collections.ConfigDict, tmp_path: pathlib.Path
) -> None:
  tiny.encoders.image = ""
  tiny.train.sample_every = 1
  with pytest.raises(ValueError, match=r"config\.encoders"):
    _run(tiny, tmp_path)


def test_truncated_shard_is_refused(
  tiny: ml_collections.ConfigDict,
  features: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  copy = tmp_path / "set"
  copy.mkdir()
  for path in (features / "train/text_to_image").iterdir():
    if path.is_file():
      (copy / path.name).write_bytes(path.read_bytes())
  shard = next(p for p in copy.iterdir() if p.stat().st_size > 100_000)
  shard.write_bytes(shard.read_bytes()[:-1000])
  tiny.data.sources = ((str(copy), 1.0),)
  with pytest.raises(ValueError, match=shard.name):
    _run(tiny, tmp_path / "run")
