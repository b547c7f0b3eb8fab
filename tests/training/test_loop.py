"""The loop end to end: resume, signals, files, bad input."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.training import loop
from unialign_jax.training import meter
from unialign_jax.training import setup
from unialign_jax.training import state as state_lib


def _run(values: ml_collections.ConfigDict, workdir: pathlib.Path) -> int:
  return loop.run(config_lib.from_dict(values), workdir)


def _lines(workdir: pathlib.Path) -> dict[int, dict]:
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return {line["step"]: line for line in map(json.loads, lines)}


def _assert_same_run(got: pathlib.Path, expected: pathlib.Path) -> None:
  """Losses of the six steps and the averaged weights, to the last bit."""

  def losses(workdir: pathlib.Path) -> dict[int, dict]:
    return {
      step: {k: v for k, v in line.items() if k[:5] in ("loss/", "grad_")}
      for step, line in _lines(workdir).items()
    }

  assert sorted(losses(got)) == [1, 2, 3, 4, 5, 6]
  assert losses(got) == losses(expected)
  _, got_params = checkpoint.load_params(got)
  _, expected_params = checkpoint.load_params(expected)
  jax.tree.map(np.testing.assert_array_equal, got_params, expected_params)


# Runs a config until step 5 is under way, and dies there. Orbax gives a
# checkpoint its name when all of it is on disk.
_KILLED = """
import json
import os
import pathlib
import signal
import sys
import time

import jax

from tests import conftest  # the devices that every test has
from unialign_jax import config as config_lib
from unialign_jax.training import loop
from unialign_jax.training import meter

workdir = pathlib.Path(sys.argv[1])
saved = workdir / "checkpoints/step_00000003"
add = meter.Meter.add

def add_or_die(self, step, *rest):
  add(self, step, *rest)
  deadline = time.monotonic() + 60
  while step == 4 and not saved.exists() and time.monotonic() < deadline:
    time.sleep(0.01)
  if step == 5:
    os.kill(os.getpid(), signal.SIGKILL)

print(jax.devices(), flush=True)
meter.Meter.add = add_or_die
loop.run(config_lib.from_dict(json.load(sys.stdin)), workdir)
"""


@pytest.fixture(scope="module")
def straight(
  make_tiny: Callable[[], ml_collections.ConfigDict],
  tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
  """Six steps without a break, with samples at the end."""
  values = make_tiny()
  values.train.sample_every = 6
  workdir = tmp_path_factory.mktemp("straight")
  assert _run(values, workdir) == 6
  return workdir


def test_run_leaves_config_metrics_events_checkpoints_samples(
  straight: pathlib.Path,
) -> None:
  lines = _lines(straight)
  assert sorted(lines) == [1, 2, 3, 4, 5, 6]
  assert all(np.isfinite(list(line.values())).all() for line in lines.values())
  assert "data_wait" not in lines[1]  # a step that was compiled has no speed
  for step in range(2, 7):
    assert 0 < lines[step]["data_wait"] < 1
    assert lines[step]["seconds_per_step"] > 0
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

  def interrupt(self: meter.Meter, step: int, *rest: object) -> None:
    seen.append(step)
    if len(seen) == 3:
      os.kill(os.getpid(), signal.SIGTERM)
    add(self, step, *rest)

  add = meter.Meter.add
  tiny.train.checkpoint_every = 1000
  monkeypatch.setattr(meter.Meter, "add", interrupt)
  assert _run(tiny, tmp_path) == 3
  monkeypatch.setattr(meter.Meter, "add", add)
  assert _run(tiny, tmp_path) == 6
  _assert_same_run(tmp_path, straight)


def test_six_steps_equal_three_and_a_kill_and_three(
  tiny: ml_collections.ConfigDict,
  straight: pathlib.Path,
  tmp_path: pathlib.Path,
  capsys: pytest.CaptureFixture[str],
) -> None:
  killed = subprocess.run(
    [sys.executable, "-c", _KILLED, str(tmp_path)],
    cwd=pathlib.Path(__file__).parents[2],
    input=config_lib.dumps(config_lib.from_dict(tiny)),
    capture_output=True,
    text=True,
    timeout=500,
  )
  assert killed.returncode == -signal.SIGKILL, killed.stderr
  assert killed.stdout.splitlines()[0] == str(jax.devices())
  saved = [path.name for path in (tmp_path / "checkpoints").iterdir()]
  assert saved == ["step_00000003"]
  assert _run(tiny, tmp_path) == 6
  assert "Continuing after step 3." in capsys.readouterr().out
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  steps = [json.loads(line)["step"] for line in lines]
  assert steps == [1, 2, 3, 4, 4, 5, 6]
  _assert_same_run(tmp_path, straight)


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
  state, position = saved.restore(parts.program.abstract_state)
  saved.close()
  parts.batches.close()
  assert int(state.step) == 6
  records = {name: 24 for name, _ in tiny.data.sources}
  assert position == {"global_next_index": 48, "records": records}
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


def test_a_stage_begins_with_the_weights_of_the_one_before(
  tiny: ml_collections.ConfigDict,
  straight: pathlib.Path,
  tmp_path: pathlib.Path,
  capsys: pytest.CaptureFixture[str],
) -> None:
  tiny.train.init_from = str(straight)
  tiny.model.scan_layers = not tiny.model.scan_layers  # computed otherwise
  parts = setup.prepare(config_lib.from_dict(tiny))
  with contextlib.closing(parts.batches):
    state = loop._start(parts, checkpoint.Checkpoints(tmp_path, parts.config))
  assert "begin with those of" in capsys.readouterr().out
  _, ema = checkpoint.load_params(straight)
  _, params = checkpoint.load_params(straight, ema=False)
  jax.tree.map(np.testing.assert_array_equal, state.ema, ema)
  jax.tree.map(np.testing.assert_array_equal, state.params, params)
  assert not jax.tree.all(jax.tree.map(np.array_equal, params, ema))
  assert int(state.step) == 0
  assert not any(np.any(x) for x in jax.tree.leaves(state.opt_state))
  placed = jax.tree.map(lambda x: x.sharding, state.params)
  assert placed == parts.program.shardings.params


def test_weights_from_elsewhere_begin_a_run_but_are_none(
  tiny: ml_collections.ConfigDict,
  straight: pathlib.Path,
  tmp_path: pathlib.Path,
) -> None:
  config, params = checkpoint.load_params(straight, ema=False)
  imported = tmp_path / "imported"
  checkpoint.write_weights(imported, config, params, {"source": "test"})
  for ema in (True, False):
    got_config, got = checkpoint.load_params(imported, ema=ema)
    assert got_config == config
    jax.tree.map(np.testing.assert_array_equal, got, params)
  tiny.train.init_from = str(imported)
  checkpoint.check_start(imported, config_lib.from_dict(tiny))
  small = jax.tree.map(lambda x: np.asarray(x).astype(jnp.bfloat16), params)
  checkpoint.write_weights(tmp_path / "bf16", config, small, {})
  zeros = jax.tree.map(jnp.zeros_like, {"params": params, "ema": params})
  none = jnp.zeros((), jnp.int32)
  state = state_lib.TrainState(
    step=none, opt_state=(), skipped=none, spikes=None, **zeros
  )
  begun = checkpoint.with_weights(state, tmp_path / "bf16")
  for got in (begun.params, begun.ema):
    jax.tree.map(
      lambda x, want: np.testing.assert_array_equal(x, np.float32(want)),
      got,
      small,
    )
    assert {x.dtype for x in jax.tree.leaves(got)} == {jnp.dtype("float32")}
  with pytest.raises(ValueError, match=r"init_from=.*imported"):
    _run(tiny, imported)
  with pytest.raises(ValueError, match="folder in use"):
    checkpoint.write_weights(imported, config, params, {})


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"train": {"init_from": "/nowhere"}}, r"init_from: /nowhere: got check"),
    ({"model": {"width": 64}}, r"init_from.*\n.*width: got 64, the run has 32"),
  ],
)
def test_a_start_that_does_not_fit_is_refused(
  tiny: ml_collections.ConfigDict,
  straight: pathlib.Path,
  tmp_path: pathlib.Path,
  changes: dict,
  message: str,
) -> None:
  tiny.train.init_from = str(straight)
  tiny.update(changes)
  with pytest.raises(ValueError, match=message):
    _run(tiny, tmp_path)


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
  with pytest.raises(ValueError, match=r"vocab_size: got 300, expected 230"):
    _run(tiny, tmp_path)  # as the encoder that the config names has it
  tiny.update(data={"text_features": "stored"}, encoders={"text": ""})
  with pytest.raises(ValueError, match=r"vocab_size: got 230, expected 300"):
    _run(tiny, tmp_path)  # as the records have it


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
