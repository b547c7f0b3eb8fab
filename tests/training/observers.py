"""What a run does with its config, without compiling anything large."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unialign_jax import config as config_lib
from unialign_jax.sampling import showcase
from unialign_jax.training import guard
from unialign_jax.training import loop
from unialign_jax.training import setup
from unialign_jax.training import spikes
from unialign_jax.training import state as state_lib
from unialign_jax.training import watchdog

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


def read(config: config_lib.Config, workdir: pathlib.Path) -> Any:
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


def place(config: config_lib.Config, workdir: pathlib.Path) -> Any:
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


def leave(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """What a run leaves behind."""
  taken = _run_idly(config, workdir, {})
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  files = {
    folder: sorted(path.name for path in (workdir / folder).glob("*"))
    for folder in ("checkpoints", "samples")
  }
  files["."] = sorted(path.name for path in workdir.glob("records*"))
  return taken, [json.loads(line)["step"] for line in lines], files


def stumble(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """What comes of bad steps, before and after the checkpoint of step 3."""
  bad = {1: "skipped", 2: "skipped", 5: "spike"}
  try:
    end = str(_run_idly(config, workdir, bad))
  except guard.BadStepsError as error:
    end = str(error).partition(";")[0]
  lines = (workdir / "incidents.jsonl").read_text().splitlines()
  return end, [(x["step"], x["kind"]) for x in map(json.loads, lines)]


def watch(config: config_lib.Config, workdir: pathlib.Path) -> Any:
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


def show(config: config_lib.Config, workdir: pathlib.Path) -> Any:
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


def init(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """The program that makes the first state."""
  del workdir
  with _prepared(config) as parts:
    return _program(parts.program.init.trace())


def step(config: config_lib.Config, workdir: pathlib.Path) -> Any:
  """The program of a step."""
  del workdir
  with _prepared(config) as parts:
    batch = parts.to_devices(next(parts.batches))
    return _program(parts.program.trace(parts.frozen, batch))


def compiler(config: config_lib.Config, workdir: pathlib.Path) -> Any:
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
  "data": [read],
  "encoders": [read],  # features of other encoders are refused
  "mesh": [place],
  "train": [leave],
  "sample": [show],
  "seed": [init, step, show],
  "train.accumulation": [step],
  "train.compiler_options": [compiler],
  "train.max_bad_steps": [stumble],
  "train.on_spike": [stumble],
  "train.max_rewinds": [stumble],
  "train.spike_window": [step],
  "train.spike_factor": [step],
  "train.watchdog_factor": [watch],
  "train.watchdog_seconds": [watch],
}
