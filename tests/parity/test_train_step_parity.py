"""The PyTorch step of `bench train` takes the steps of `training.step`."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import pytest

from tests.bench import small_step
from unialign_jax import config as config_lib
from unialign_jax.bench import fresh
from unialign_jax.bench import handover
from unialign_jax.bench import jax_step
from unialign_jax.bench import torch_forms

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
torch_step = pytest.importorskip("unialign_jax.bench.torch_step")

# Both move the weights enough for a wrong update, or average, to be seen.
MOVING = {"learning_rate": 3e-3, "warmup_steps": 2, "ema_decay": 0.5}
# With a small eps, AdamW does not see by what gradients are scaled.
CLIPPED = {**MOVING, "clip_norm": 0.05, "weight_decay": 1.0, "eps": 1e-3}


class Given(NamedTuple):
  """What JAX computed, and what PyTorch begins with."""

  config: config_lib.Config
  folder: pathlib.Path
  expected: list[dict[str, float]]


def _given(
  config: config_lib.Config, num_cond: int, folder: pathlib.Path
) -> Given:
  done = fresh.run(jax_step.measure, config, num_cond, 1).value
  fresh.run(handover.write, config, num_cond, folder)
  return Given(config, folder, done.computed)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
  config = small_step.config(
    optimizer=CLIPPED,
    model={"dtype": "float32", "qk_norm": True, "dual_attention_depth": 1},
  )
  return _given(config, 1, tmp_path_factory.mktemp("float32"))


def _apart(
  given: Given, change: Callable[[Any, Any], Any] = lambda step, batch: None
) -> float:
  step, batch, draws = torch_forms.load(given.folder, given.config, False)
  change(step, batch)
  computed = [
    {k: float(v) for k, v in step(batch, drawn).items()} for drawn in draws
  ]
  computed[-1] |= step.norms()
  return torch_forms.compare(computed, given.expected, given.config.model.dtype)


def test_the_same_three_steps(given: Given) -> None:
  names = {"loss/total", "loss/flow", "loss/text", "loss/cross", "grad_norm"}
  for expected in given.expected:
    assert names < set(expected)
    assert expected["grad_norm"] > 2 * CLIPPED["clip_norm"]
  first, _, last = (step["loss/total"] for step in given.expected)
  assert last < 0.98 * first
  assert _apart(given) < torch_forms.TOLERANCE["float32"]


FAULTS = {
  "temperature": lambda step, batch: setattr(
    step.objective, "temperature", 0.08
  ),
  "mask token": lambda step, batch: setattr(step.objective, "mask_id", 0),
  "swapped heads": lambda step, batch: setattr(
    step.objective.network,
    "siglip_adapter_img",
    step.objective.network.siglip_adapter_text,
  ),
  "no conditions": lambda step, batch: batch.pop("cond_latents"),
  "another batch": lambda step, batch: batch["masked_features"].mul_(1.01),
  "a weight": lambda step, batch: setattr(
    step.objective, "weights", step.objective.weights | {"cross": 0.06}
  ),
  "no clipping": lambda step, batch: _configure(step, clip_norm=1e9),
  "learning rate": lambda step, batch: _configure(step, warmup_steps=0),
  "average": lambda step, batch: _configure(step, ema_decay=0.6),
  "decay": lambda step, batch: _regroup(step, weight_decay=0.0),
  "eps": lambda step, batch: _regroup(step, eps=1e-8),
  "betas": lambda step, batch: _regroup(step, betas=(0.5, 0.999)),
}


def _configure(step: Any, **changes: float) -> None:
  step.config = dataclasses.replace(step.config, **changes)


def _regroup(step: Any, **changes: Any) -> None:
  step._optimizer.param_groups[0].update(changes)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(given: Given, fault: str) -> None:
  with pytest.raises(ValueError, match="do not compute the same"):
    _apart(given, FAULTS[fault])


def test_bfloat16_stays_near(tmp_path: pathlib.Path) -> None:
  config = small_step.config(optimizer=MOVING, model={"dtype": "bfloat16"})
  given = _given(config, 0, tmp_path)
  apart = _apart(given)
  # Not so near that there was no autocast.
  assert 1e-5 < apart < torch_forms.TOLERANCE["bfloat16"]
