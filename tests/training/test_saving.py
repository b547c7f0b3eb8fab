"""Training goes on while a checkpoint is written."""

import pathlib
import threading

import ml_collections
import pytest

from tests.training import toy
from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.checkpoint import checksums
from unialign_jax.training import loop
from unialign_jax.training import meter

pytestmark = pytest.mark.usefixtures("compiled")


def test_training_does_not_wait_for_the_disk(
  tiny: ml_collections.ConfigDict,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  """The save of step 2 is held up until step 5 is taken."""
  toy.install(monkeypatch)
  tiny.train.update(steps=6, checkpoint_every=2, keep_checkpoints=3)
  # A later save waits for the one before it, so there is none until step 6.
  due = checkpoint.Checkpoints.save

  def save(
    self: checkpoint.Checkpoints, step: int, *rest: object, **named: object
  ) -> bool:
    return step != 4 and due(self, step, *rest, **named)

  monkeypatch.setattr(checkpoint.Checkpoints, "save", save)
  taken, saved = threading.Event(), []
  seal, add = checksums.seal, meter.Meter.add

  def seal_late(folder: pathlib.Path) -> None:
    saved.append(taken.wait(timeout=20))
    seal(folder)

  def note(self: meter.Meter, step: int, *rest: object) -> None:
    add(self, step, *rest)
    if step == 5:
      assert not (tmp_path / "checkpoints/step_00000002").exists()
      taken.set()

  monkeypatch.setattr(checksums, "seal", seal_late)
  monkeypatch.setattr(meter.Meter, "add", note)
  assert loop.run(config_lib.from_dict(tiny), tmp_path) == 6
  assert saved == [True, True]
  names = sorted(p.name for p in (tmp_path / "checkpoints").glob("step_*"))
  assert names == ["step_00000002", "step_00000006"]
