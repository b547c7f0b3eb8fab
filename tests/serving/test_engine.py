"""How batches run, and how much stays compiled."""

import dataclasses
from typing import Any

import jax
import pytest

from tests.serving import stand_in
from unialign_jax.serving import engine as engine_lib
from unialign_jax.serving import policy as policy_lib


class _Pipe:
  """Notes its calls."""

  batch_size = 6
  image_settings = stand_in.POLICY.image

  def __init__(self):
    self.drawn: list[tuple[int, dict[str, Any]]] = []
    self.written: list[tuple[int, dict[str, Any]]] = []

  def draw(self, rows: list[Any], **settings: Any) -> list[str]:
    self.drawn.append((len(rows), settings))
    return ["picture"] * len(rows)

  def write_full(self, rows: list[Any], **settings: Any) -> list[str]:
    self.written.append((len(rows), settings))
    return ["text"] * len(rows)


def _write(steps: int = 24, seed: int = 0) -> engine_lib.Write:
  text = dataclasses.replace(stand_in.POLICY.text, steps=steps)
  return engine_lib.Write(text, seed)


def test_keys_become_settings():
  pipe = _Pipe()
  engine = engine_lib.Engine(pipe, 4)
  draw = engine_lib.Draw(stand_in.POLICY.image, 1)
  assert engine.run(draw, ["a", "b"]) == ["picture"] * 2
  assert engine.run(_write(steps=3, seed=7), ["a"]) == ["text"]
  ((count, drawn),) = pipe.drawn
  assert count == 2 and drawn == dataclasses.asdict(stand_in.POLICY.image)
  ((_, written),) = pipe.written
  assert written["seed"] == 7 and written["steps"] == 3


def test_new_settings_do_not_pile_up(monkeypatch: pytest.MonkeyPatch):
  dropped = []
  monkeypatch.setattr(jax, "clear_caches", lambda: dropped.append(1))
  engine = engine_lib.Engine(_Pipe(), 2)
  for seed in range(5):  # a seed is nothing that compiles
    engine.run(_write(steps=1, seed=seed), ["a"])
  engine.run(_write(steps=2), ["a"])
  engine.run(_write(steps=1), ["a"])
  assert not dropped
  engine.run(_write(steps=3), ["a"])
  assert len(dropped) == 1
  engine.run(_write(steps=3), ["a"])
  engine.run(_write(steps=4), ["a"])
  assert len(dropped) == 1
  engine.run(_write(steps=5), ["a"])
  assert len(dropped) == 2


def test_warming_up_meets_every_size_of_batch():
  pipe = _Pipe()
  engine_lib.Engine(pipe, 4).warm_up(
    stand_in.POLICY.text, stand_in.POLICY.image
  )
  for calls in (pipe.drawn, pipe.written):
    assert [count for count, _ in calls] == [1, 2, 4, 6]
  assert all("seed" in settings for _, settings in pipe.written)


@pytest.mark.parametrize("changed", [{"max_side": 16}, {"max_steps": 3}])
def test_a_policy_covers_its_own_defaults(changed: dict[str, int]):
  with pytest.raises(ValueError, match="at most"):
    dataclasses.replace(stand_in.POLICY, **changed)
  assert isinstance(stand_in.POLICY, policy_lib.Policy)
