"""Every key around the train step counts; tests/test_config.py has the rest.

A key is flipped alone, and what the run does with it is compared: batches,
placement, files, traced programs, or the refusal of what does not fit.
Nothing as large as a train step is compiled.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import grain
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import safetensors.numpy

from tests import test_config as step_keys
from tests.data import test_pipeline as pipelines
from unialign_jax import config as config_lib
from unialign_jax.data import damage
from unialign_jax.features import encoders
from unialign_jax.sampling import showcase
from unialign_jax.shapes import weights
from unialign_jax.training import guard
from unialign_jax.training import loop
from unialign_jax.training import setup
from unialign_jax.training import spikes
from unialign_jax.training import state as state_lib
from unialign_jax.training import watchdog

# What a key is set to; a function takes the folder that `root` makes. The
# group "" holds the keys that are in no group.
FLIPS = {
  "": {"seed": 1},
  "data": {
    "sources": lambda root: (
      (f"{root}/train/text_to_image", 0.25),
      (f"{root}/train/edit", 0.75),
    ),
    "root": "/nowhere",
    "batch_size": 8,
    "shuffle_seed": 1,
    "num_threads": 2,
    "prefetch_batches": 3,
    "max_damaged_records": 0,
    "resolution": 128,
    "latent_factor": 4,
    "text_length": 16,
    "text_features": "stored",
    "mask_id": 200,
    "max_cond": 0,
  },
  "encoders": {
    "text": lambda root: f"{root}/text_encoder_3",
    "tokenizer": lambda root: f"{root}/tokenizer_3",
    "mask_embedding": lambda root: f"{root}/row.safetensors",
    "image": lambda root: f"{root}/vae",
  },
  "mesh": {"data": 4, "fsdp": 2, "tensor": 2, "sequence": 2},
  "train": {
    "steps": 5,
    "accumulation": 2,
    "log_every": 2,
    "log_records": True,
    "checkpoint_every": 2,
    "keep_checkpoints": 1,
    "keep_every": 3,
    "sample_every": 3,
    "max_bad_steps": 2,
    "spike_window": 0,
    "spike_factor": 5.0,
    "on_spike": "skip",
    "max_rewinds": 1,
    "watchdog_factor": 30.0,
    "watchdog_seconds": 500.0,
    "init_from": "nowhere",
    "compiler_options": (("xla_of_nowhere", "1"),),
  },
  "sample": {
    "sources": lambda root: (f"{root}/validation/text_to_image",),
    "per_source": 1,
    "steps": 3,
    "guidance": 3.5,
    "guidance_rescale": 0.5,
    "guidance_interval": (0.25, 0.75),
    "shift": 3.0,
    "solver": "heun",
    "text_steps": 3,
    "text_schedule": "confidence",
    "text_temperature": 0.5,
  },
}
Observer = Callable[[config_lib.Config, pathlib.Path], Any]


@contextlib.contextmanager
def _prepared(config: config_lib.Config) -> Iterator[setup.Run]:
  parts = setup.prepare(config)
  try:
    yield parts
  finally:
    parts.batches.close()


def _digest(tree: Any) -> list[str]:
  """Shape, dtype and content of every array; no content of abstract ones."""

  def describe(leaf: Any) -> str:
    described = f"{leaf.dtype} {leaf.shape}"
    if isinstance(leaf, jax.ShapeDtypeStruct):
      return described
    content = np.ascontiguousarray(jax.device_get(leaf)).tobytes()
    return f"{described} {hashlib.sha256(content).hexdigest()}"

  return [describe(leaf) for leaf in jax.tree.leaves(tree)]


def _program(traced: jax.stages.Traced) -> list[str]:
  """The text of a program, and its constants, which the text does not show."""
  return [str(traced.jaxpr), *_digest(traced.jaxpr.consts)]


def _read(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """How grain is asked to read, and the first batches: two epochs of each."""
  del workdir
  asked = []
  iterator = grain.experimental.ElasticIterator

  def spy(*args: Any, read_options: grain.ReadOptions) -> Any:
    asked.append(read_options)
    return iterator(*args, read_options=read_options)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(grain.experimental, "ElasticIterator", spy)
    with _prepared(config) as parts:
      return asked, [_digest(next(parts.batches)) for _ in range(6)]


def _place(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """Where the state and a batch live."""
  del workdir
  with _prepared(config) as parts:
    placed = (
      parts.program.abstract_state,
      parts.to_devices(next(parts.batches)),
    )
    return jax.tree.map(lambda x: str(x.sharding), jax.tree.leaves(placed))


def _run_idly(
  config: config_lib.Config, workdir: pathlib.Path, bad: Mapping[int, str]
) -> int:
  """A run whose steps do nothing but count.

  Args:
    config: of the run.
    workdir: of the run.
    bad: step -> "skipped" or "spike", whenever it is taken.
  """
  numbers = dict.fromkeys(
    ("loss/total", "loss/flow", "loss/text", "grad_norm", "learning_rate"), 0.0
  )
  shown = showcase.Shown(
    name="nothing", picture_HWC=np.zeros((8, 8, 3), np.uint8), texts=("a -> b",)
  )
  prepare = setup.prepare

  def init() -> state_lib.TrainState:
    return state_lib.TrainState(
      step=jnp.zeros((), jnp.int32),
      params={"w": jnp.zeros(())},
      ema=jnp.zeros(()),
      opt_state=jnp.zeros(()),
      skipped=jnp.zeros((), jnp.int32),
      spikes=spikes.fresh(),
    )

  def step(state: state_lib.TrainState, batch: Any) -> Any:
    del batch
    kind = bad.get(int(state.step) + 1)
    counts = state.spikes
    state = state.replace(
      step=state.step + 1,
      skipped=state.skipped + int(kind == "skipped"),
      spikes=counts.replace(count=counts.count + int(kind == "spike")),
    )
    count = state.spikes.count
    return state, numbers | {"skipped": state.skipped, "spikes": count}

  def prepare_nothing(config: config_lib.Config) -> setup.Run:
    parts = prepare(config)
    # As a step is called: with the mesh set, what is restored has to be on it.
    everywhere = jax.NamedSharding(parts.program.mesh, jax.P())
    program = dataclasses.replace(
      parts.program,
      init=init,
      abstract_state=jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
        init(),
      ),
      jitted_step=step,
    )
    return dataclasses.replace(
      parts,
      program=program,
      showcase=parts.showcase and (lambda params: [shown]),
    )

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(setup, "prepare", prepare_nothing)
    return loop.run(config, workdir)


def _leave(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """What a run leaves behind."""
  taken = _run_idly(config, workdir, {})
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  files = {
    folder: sorted(path.name for path in (workdir / folder).glob("*"))
    for folder in ("checkpoints", "samples")
  }
  files["."] = sorted(path.name for path in workdir.glob("records*"))
  return taken, [json.loads(line)["step"] for line in lines], files


def _stumble(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """What comes of bad steps, before and after the checkpoint of step 3."""
  bad = {1: "skipped", 2: "skipped", 5: "spike"}
  try:
    end = str(_run_idly(config, workdir, bad))
  except guard.BadStepsError as error:
    end = str(error).partition(";")[0]
  lines = (workdir / "incidents.jsonl").read_text().splitlines()
  return end, [(x["step"], x["kind"]) for x in map(json.loads, lines)]


def _watch(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """How the watchdog is asked to watch."""
  asked = []
  kind = watchdog.Watchdog

  def spy(*args: Any, **named: Any) -> watchdog.Watchdog:
    asked.append(named)
    return kind(*args, **named)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(watchdog, "Watchdog", spy)
    _run_idly(config, workdir, {})
  return asked


def _show(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """The programs of both samplers, which are not run, and what is shown."""
  del workdir
  seen = []

  def only_trace(jitted: Any) -> Callable[..., Any]:
    def trace(*args: Any) -> Any:
      traced = jitted.trace(*args)
      seen.append((_program(traced), _digest(args)))
      return jax.tree.map(
        lambda out: np.zeros(out.shape, out.dtype), traced.out_info
      )

    return trace

  with _prepared(config) as parts:
    shows = parts.showcase
    shows._draw, shows._write = (
      only_trace(shows._draw),
      only_trace(shows._write),
    )
    for shown in shows(parts.program.abstract_state.ema):
      seen.append((shown.name, _digest(shown.picture_HWC), shown.texts))
    return seen


def _init(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """The program that makes the first state."""
  del workdir
  with _prepared(config) as parts:
    return _program(parts.program.init.trace())


def _step(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """The program of a step."""
  del workdir
  with _prepared(config) as parts:
    batch = parts.to_devices(next(parts.batches))
    return _program(parts.program.trace(parts.frozen, batch))


def _compiler(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """What jitted functions of a run are compiled with, if with anything."""
  del workdir
  asked = []
  jit = jax.jit

  def spy(*args: Any, compiler_options: Any = None, **named: Any) -> Any:
    asked.append(compiler_options)
    return jit(*args, compiler_options=compiler_options, **named)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "jit", spy)
    with _prepared(config):
      # Encoders are loaded, and so jitted, only once: that is no difference.
      return [options for options in asked if options]


# By group, unless the key has an entry of its own.
OBSERVERS = {
  "data": [_read],
  "encoders": [_read],  # features of other encoders are refused
  "mesh": [_place],
  "train": [_leave],
  "sample": [_show],
  "seed": [_init, _step, _show],
  "train.accumulation": [_step],
  "train.compiler_options": [_compiler],
  "train.max_bad_steps": [_stumble],
  "train.on_spike": [_stumble],
  "train.max_rewinds": [_stumble],
  "train.spike_window": [_step],
  "train.spike_factor": [_step],
  "train.watchdog_factor": [_watch],
  "train.watchdog_seconds": [_watch],
}


def _name(group: str, key: str) -> str:
  return f"{group}.{key}" if group else key


def _alter_weights(path: pathlib.Path) -> None:
  tensors = safetensors.numpy.load_file(path)
  larger = {name: x * x.dtype.type(1.5) for name, x in tensors.items()}
  safetensors.numpy.save_file(larger, path)


def _alter_words(path: pathlib.Path) -> None:
  """Upper case for lower: the same ids, other texts."""
  tokenizer = json.loads(path.read_text())
  for piece in tokenizer["model"]["vocab"]:
    if piece[0].startswith("▁"):
      piece[0] = piece[0].swapcase()
  path.write_text(json.dumps(tokenizer))


@pytest.fixture(scope="module")
def root(
  features: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  """The records, one of them damaged, and encoders unlike the shipped ones."""
  root = tmp_path_factory.mktemp("root")
  for split in ("train", "validation"):
    shutil.copytree(features / split, root / split)
  pipelines.damage_records(root / "train/text_to_image", [3])
  for folder in (weights.TEXT_ENCODER, weights.TOKENIZER, weights.VAE):
    shutil.copytree(folder, root / folder.name)
  _alter_weights(root / "text_encoder_3/model.safetensors")
  _alter_weights(root / "vae/diffusion_pytorch_model.safetensors")
  _alter_words(root / "tokenizer_3/tokenizer.json")
  row = {"row": np.ones(96, np.float32)}
  safetensors.numpy.save_file(row, root / "row.safetensors")
  return root


@pytest.fixture
def unflipped(
  tiny: ml_collections.ConfigDict, root: pathlib.Path
) -> ml_collections.ConfigDict:
  """A run in which every key has something to do."""
  tiny.data.root = str(root)
  tiny.data.sources = (("train/text_to_image", 0.5), ("train/edit", 0.5))
  tiny.data.batch_size = 16  # so that two micro-batches fit eight devices
  tiny.train.update(sample_every=6, spike_window=16, on_spike="rewind")
  tiny.train.update(steps=9, keep_checkpoints=2)  # of the three it saves
  return tiny


@pytest.fixture(scope="module", autouse=True)
def load_once() -> Iterator[None]:
  """Loads an encoder of a folder once, so that it compiles once."""
  with pytest.MonkeyPatch.context() as patch:
    for kind in (encoders.TextEncoder, encoders.ImageEncoder):
      patch.setattr(kind, "load", functools.cache(kind.load))
    yield


@pytest.fixture(scope="module")
def observe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
  """(observer, config) -> what it sees, in a fresh workdir."""

  def see(observer: Observer, values: ml_collections.ConfigDict) -> Any:
    # A value out of range says nothing about who reads the key.
    config = config_lib.from_dict(values)
    try:
      return observer(config, tmp_path_factory.mktemp("workdir"))
    except (ValueError, damage.DamagedRecordsError) as error:
      return f"refused: {error}"

  return see


@pytest.fixture(scope="module")
def defaults() -> dict[Observer, Any]:
  """What each observer sees of the unflipped config, once it was asked."""
  return {}


def test_flips_cover_every_key_around_the_step(
  unflipped: ml_collections.ConfigDict,
) -> None:
  config = config_lib.from_dict(unflipped)
  keys = {"": set()}
  for field in dataclasses.fields(config):
    if dataclasses.is_dataclass(field.type):
      keys[field.name] = {f.name for f in dataclasses.fields(field.type)}
    else:
      keys[""].add(field.name)
  for group in step_keys.FLIPS:
    del keys[group]
  assert {group: set(flips) for group, flips in FLIPS.items()} == keys


@pytest.mark.parametrize(
  "observer",
  [_read, _place, _leave, _stumble, _watch, _show, _init, _step],
)
def test_same_config_is_seen_the_same(
  observer: Observer,
  unflipped: ml_collections.ConfigDict,
  observe: Callable[..., Any],
  defaults: dict[Observer, Any],
) -> None:
  defaults[observer] = observe(observer, unflipped)
  assert "refused" not in defaults[observer]
  assert observe(observer, unflipped) == defaults[observer]


@pytest.mark.parametrize(
  ("group", "key", "observer"),
  [
    (group, key, observer)
    for group, flips in FLIPS.items()
    for key in flips
    for observer in OBSERVERS.get(_name(group, key)) or OBSERVERS[group]
  ],
)
def test_every_key_around_the_step_changes_the_run(
  group: str,
  key: str,
  observer: Observer,
  unflipped: ml_collections.ConfigDict,
  root: pathlib.Path,
  observe: Callable[..., Any],
  defaults: dict[Observer, Any],
) -> None:
  if observer not in defaults:
    defaults[observer] = observe(observer, unflipped)
  value = FLIPS[group][key]
  value = value(root) if callable(value) else value
  keys = unflipped[group] if group else unflipped
  assert keys[key] != value
  keys[key] = value
  changed = observe(observer, unflipped) != defaults[observer]
  assert changed, f"config.{_name(group, key)} changes nothing"


@pytest.mark.parametrize("kind", ["text", "image"])
def test_features_of_other_weights_are_refused(
  kind: str,
  unflipped: ml_collections.ConfigDict,
  root: pathlib.Path,
  observe: Callable[..., Any],
) -> None:
  """The same architecture, trained to other weights."""
  unflipped.encoders[kind] = FLIPS["encoders"][kind](root)
  seen = observe(_read, unflipped)
  assert re.search(rf"refused: .*\n +{kind}_encoder: got \w+, expected", seen)
