"""Config files: every key counts, mistakes are one clear message."""

import dataclasses
import json
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training import tiny
from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.models import mmdit
from unialign_jax.training import objective as objective_lib
from unialign_jax.training import optimizer as optimizer_lib
from unialign_jax.training import state as state_lib
from unialign_jax.training import step as step_lib

CONFIGS = pathlib.Path(config_lib.__file__).parents[1] / "configs"


def _shapes() -> dict[str, Any]:
  return config_lib.load_file("shapes.py").to_dict()


@pytest.mark.parametrize("name", ["shapes.py", "tiny.py"])
def test_shipped_config_is_valid(name: str) -> None:
  config_lib.from_dict(config_lib.load_file(name))


@pytest.mark.parametrize("name", ["stage1.py", "stage2.py", "stage3.py"])
def test_stage_config_needs_only_the_encoders(name: str) -> None:
  values = config_lib.load_file(name)
  with pytest.raises(ValueError, match=r"config\.encoders\.text"):
    config_lib.from_dict(values)
  values.encoders.text = "somewhere"
  config = config_lib.from_dict(values)
  assert config.latent_shape == (64, 64, 16)
  assert config.data.batch_size == 256


def test_every_default_is_documented() -> None:
  lines = (CONFIGS / "base.py").read_text().splitlines()
  settings = [s for s in lines if re.match(r"  [\w.]+\.\w+ = (?!ml_coll)", s)]
  assert len(settings) > 60
  for line in settings:
    if " = config." not in line:
      assert re.search(r"  # \S", line), f"no comment: {line}"


def test_round_trip_through_json() -> None:
  config = config_lib.from_dict(_shapes())
  assert config_lib.from_dict(json.loads(config_lib.dumps(config))) == config


def test_config_of_an_earlier_run_takes_new_keys_at_their_defaults() -> None:
  saved = json.loads(config_lib.dumps(config_lib.from_dict(_shapes())))
  whole = config_lib.from_saved(saved)
  del saved["train"]["init_from"], saved["loss"]["intrinsic_image"]
  assert config_lib.from_saved(saved) == whole
  saved["train"]["gone"] = 1
  with pytest.raises(ValueError, match=r"config\.train\.gone"):
    config_lib.from_saved(saved)


@pytest.mark.parametrize(
  ("group", "key", "value", "message"),
  [
    ("model", "wdith", 3, r"config\.model\.wdith: unknown.*model\.width"),
    ("model", "width", "128", r"config\.model\.width: got '128'"),
    ("model", "width", 130, r"config\.model\.width: got 130"),
    ("model", "align_depth", 7, r"align_depth: got 7"),
    ("model", "dual_attention_depth", 7, r"dual_attention_depth: got 7"),
    ("model", "remat", "some", r"config\.model\.remat: got 'some'"),
    ("loss", "flow_space", "x1", r"config\.loss\.flow_space"),
    ("loss", "text_rows", -1, r"config\.loss\.text_rows: got -1"),
    ("data", "batch_size", 0, r"batch_size: got 0"),
    ("data", "resolution", 65, r"config\.data\.resolution: got 65"),
    ("data", "sources", (), r"config\.data\.sources"),
    ("optimizer", "schedule", "linear", r"config\.optimizer\.schedule"),
    ("optimizer", "working_dtype", "int8", r"optimizer\.working_dtype.*int8"),
    ("train", "steps", 50, r"config\.train\.steps: got 50"),
    ("train", "accumulation", 5, r"multiple of config\.train\.accumulation"),
    ("train", "max_bad_steps", 0, r"max_bad_steps: got 0"),
    ("train", "spike_window", 257, r"spike_window: got 257.* 256"),
    ("train", "spike_factor", 0.5, r"spike_factor: got 0\.5"),
    ("train", "on_spike", "stop", r"on_spike: got 'stop'.*rewind"),
    ("train", "watchdog_seconds", -1, r"watchdog_seconds: got -1"),
    ("mesh", "tensor", 0, r"config\.mesh"),
    ("sample", "solver", "rk4", r"config\.sample\.solver"),
    ("sample", "guidance", -1.0, r"guidance"),
  ],
)
def test_a_mistake_is_one_message(
  group: str, key: str, value: Any, message: str
) -> None:
  values = _shapes()
  values[group][key] = value
  with pytest.raises(ValueError, match=message):
    config_lib.from_dict(values)


def test_missing_keys_are_named() -> None:
  values = _shapes()
  del values["loss"]["text_weight"]
  with pytest.raises(ValueError, match=r"text_weight.*missing"):
    config_lib.from_dict(values)


def test_unknown_file_names_the_known_ones() -> None:
  with pytest.raises(ValueError, match=r"stage2\.py"):
    config_lib.find_file("stage9.py")


# What a key of the train step is set to; each must change the traced program.
# Remat changes the program only in its gradient, which the step holds.
FLIPS = {
  "model": {
    "in_channels": None,  # shape of the data: see test_loop
    "patch_size": 4,
    "width": 64,
    "depth": 3,
    "num_heads": 4,
    "mlp_ratio": 2,
    "text_dim": None,
    "vocab_size": 21,
    "pos_embed_size": 8,
    "pos_embed_base": 2,
    "null_image_tokens": 3,
    "qk_norm": True,
    "dual_attention_depth": 1,
    "align_depth": 2,
    "align_hidden": 8,
    "semantic_dim": None,
    "scan_layers": False,
    "remat": "full",
    "attention": None,  # a CPU has one implementation: see test_mmdit
    "dtype": "bfloat16",
  },
  "diffusion": {
    "flow_t_mean": 0.5,
    "flow_t_std": 0.5,
    "flow_t_grid": 1000,
    "flow_antithetic": True,
    "text_t_min": 0.01,
    "text_antithetic": False,
    "prompt_dropout": 0.3,
  },
  "loss": {
    "flow_weight": 0.5,
    "text_weight": 0.3,
    "cross_weight": 0.1,
    "intrinsic_weight": 0.2,
    "text_rows": 4,
    "flow_space": "x0",
    "cross_direction": "image_to_text",
    "cross_temperature": 0.1,
    "cross_group_size": 2,
    "intrinsic_form": "negative_cosine",
    "intrinsic_image": "patches",
  },
  "optimizer": {
    "learning_rate": 1e-3,
    "warmup_steps": 7,
    "schedule": "cosine",
    "b1": 0.8,
    "b2": 0.9,
    "eps": 1e-3,
    "weight_decay": 0.5,
    "clip_norm": 0.1,
    "ema_decay": 0.5,
    "trainable": ("blocks/.*",),
    "working_dtype": "bfloat16",
  },
}


def _program(**changes: Any) -> str:
  """Jaxpr of one online train step of the tiny network."""
  groups = {name: changes.get(name, {}) for name in FLIPS}
  model = mmdit.MMDiT(tiny.model_config(**groups["model"]))
  config = optimizer_lib.OptimizerConfig(**groups["optimizer"])
  optimizer = optimizer_lib.make(config, 5000)
  train_step = step_lib.make_train_step(
    tiny.objective(model, **groups["loss"]),
    optimizer,
    config,
    objective_lib.DiffusionConfig(**groups["diffusion"]),
    seed=0,
    total_steps=5000,
  )

  def create() -> state_lib.TrainState:
    state = state_lib.create(
      model,
      optimizer,
      0,
      latent_shape=tiny.LATENT_SHAPE,
      text_length=tiny.TEXT_LENGTH,
    )
    null = jnp.zeros((tiny.TEXT_LENGTH, 16))
    return state.replace(frozen=state_lib.Frozen(null, jnp.zeros((21, 16))))

  by_patch = groups["loss"].get("intrinsic_image") == "patches"
  program = jax.make_jaxpr(train_step)(
    jax.eval_shape(create), tiny.batch(4, stored=False, by_patch=by_patch)
  )
  # The text does not show constants, such as the table of positions.
  constants = [np.asarray(c).tobytes().hex() for c in program.consts]
  return str([str(program), *constants])


@pytest.fixture(scope="module")
def default_program() -> str:
  return _program()


def test_flips_cover_every_key_of_the_step() -> None:
  config = config_lib.from_dict(_shapes())
  for group, flips in FLIPS.items():
    keys = {f.name for f in dataclasses.fields(getattr(config, group))}
    assert keys == set(flips), group


@pytest.mark.parametrize(
  ("group", "key"),
  [(g, k) for g, flips in FLIPS.items() for k, v in flips.items() if v],
)
def test_every_key_of_the_step_changes_it(
  group: str, key: str, default_program: str
) -> None:
  assert _program(**{group: {key: FLIPS[group][key]}}) != default_program


@pytest.mark.parametrize(
  ("sizes", "expected"),
  [
    ((-1, 1, 1), (8, 1, 1, 1)),
    ((2, -1, 2), (2, 2, 2, 1)),
    ((1, 8, 1), (1, 8, 1, 1)),
    ((2, 1, 1, -1), (2, 1, 1, 4)),
  ],
)
def test_mesh_takes_what_is_left(sizes: tuple, expected: tuple) -> None:
  assert tuple(sharding.make_mesh(*sizes).shape.values()) == expected


def test_mesh_that_does_not_fit_the_devices_is_refused() -> None:
  with pytest.raises(ValueError, match=r"config\.mesh.*8, the number"):
    sharding.make_mesh(3, 1, 1)
