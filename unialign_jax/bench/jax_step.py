"""The train step of a config, as a run compiles it, timed.

Everything here is called in a fresh process, by `fresh.run`.
"""

import collections
import dataclasses
import time
from typing import Any

import jax
import numpy as np

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.bench import batches
from unialign_jax.planning import compiled as compiled_lib
from unialign_jax.training import flops
from unialign_jax.training import program as program_lib
from unialign_jax.training import state as state_lib

WARM_UP = 3  # steps before the clock runs; what they compute is compared
_STIR = 0.02  # standard deviation of what is added to fresh weights
_EVENT = "/jax/compilation_cache/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
  """Steps of one program.

  Attributes:
    lower_seconds: tracing and lowering.
    compile_seconds: XLA's part, without the persistent cache.
    steps: of each synchronised step after the warm-up, seconds.
    computed: of each warm-up step, what PyTorch has to compute too.
    device_peak: most bytes in use on a device; None where JAX does not tell.
    peak_flops: FLOP/s of all devices together, where that is known.
  """

  lower_seconds: float
  compile_seconds: float
  steps: list[float]
  computed: list[dict[str, float]]
  device_peak: int | None
  peak_flops: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
  """From the start of a process to its first loss.

  Attributes:
    seconds: imports, weights, compilation and one step.
    loaded: programs that came from the persistent cache.
    compiled: programs that did not.
  """

  seconds: float
  loaded: int
  compiled: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
  """A program with its inputs, on the devices."""

  program: program_lib.Program
  frozen: state_lib.Frozen
  batch: dict[str, jax.Array]


def measure(
  config: config_lib.Config,
  num_cond: int,
  repeats: int,
  devices: int | None = None,
) -> Measured:
  """Compiles without the persistent cache, warms up, and times steps.

  Args:
    config: of the run.
    num_cond: condition images of a record.
    repeats: steps that are timed.
    devices: how many there are; virtual ones on CPUs. All if None.
  """
  jax.config.update("jax_enable_compilation_cache", False)
  made = parts(config, num_cond, devices)
  # Compiled before there is a state: its peak is not added to the state's.
  start = time.perf_counter()
  lowered = made.program.trace(made.frozen, made.batch).lower()
  lowered_at = time.perf_counter()
  step = lowered.compile()
  done = time.perf_counter()

  state = stirred(made.program).replace(frozen=made.frozen)
  computed = []
  for _ in range(WARM_UP):
    state, metrics = step(state, made.batch)
    computed.append({k: float(v) for k, v in metrics.items()})
  computed[-1] |= _norms(state)
  seconds = []
  for _ in range(repeats):
    begin = time.perf_counter()
    state, metrics = step(state, made.batch)
    jax.block_until_ready((state.params, state.ema, metrics))
    seconds.append(time.perf_counter() - begin)
  used = list(made.program.mesh.devices.flat)
  return Measured(
    lower_seconds=lowered_at - start,
    compile_seconds=done - lowered_at,
    steps=seconds,
    computed=computed,
    device_peak=_device_peak(used),
    peak_flops=flops.peak(used),
  )


def start(
  config: config_lib.Config, num_cond: int, cache: str, began: float
) -> Start:
  """One step with a persistent cache of compiled programs.

  Args:
    config: of the run.
    num_cond: condition images of a record.
    cache: its folder; what is not in it is compiled, and put there.
    began: `time.time()` when this process was started.
  """
  jax.config.update("jax_compilation_cache_dir", cache)
  # All programs, not only those that take long.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  events = collections.Counter()
  jax.monitoring.register_event_listener(
    lambda event, **unused: events.update([event])
  )
  made = parts(config, num_cond)
  state = made.program.init().replace(frozen=made.frozen)
  _, metrics = made.program.train_step(state, made.batch)
  float(metrics["loss/total"])
  seconds = time.time() - began
  loaded = events[f"{_EVENT}cache_hits"]
  asked = events[f"{_EVENT}compile_requests_use_cache"]
  return Start(seconds=seconds, loaded=loaded, compiled=asked - loaded)


def parts(
  config: config_lib.Config, num_cond: int, devices: int | None = None
) -> Parts:
  """The program of a config, with made-up inputs.

  Raises:
    ValueError: too few devices, or a mesh that does not divide something.
  """
  mesh = _mesh(config, devices)
  text_model = compiled_lib.text_model(config)
  frozen = batches.frozen(config, mesh, text_model)
  return Parts(
    program=program_lib.build(
      config, mesh, text_model=text_model, frozen=frozen
    ),
    frozen=frozen,
    batch=batches.to_devices(batches.make(config, num_cond), mesh),
  )


def stirred(program: program_lib.Program) -> state_lib.TrainState:
  """A fresh state in which no weight is zero.

  Blocks of a fresh network are the identity, and most gradients zero: two
  networks would agree in a loss without doing the same.
  """

  def stir(state: state_lib.TrainState) -> state_lib.TrainState:
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    params = tree.unflatten(
      [
        leaf + _STIR * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys)
      ]
    )
    # A copy: a donated state may not hold the same buffer twice.
    return state.replace(
      params=params, ema=jax.tree.map(lambda p: p + 0.0, params)
    )

  return jax.jit(stir, out_shardings=program.shardings, donate_argnums=0)(
    program.init()
  )


def _mesh(config: config_lib.Config, devices: int | None) -> jax.sharding.Mesh:
  if devices is not None:
    jax.config.update("jax_num_cpu_devices", devices)
  found = jax.devices()
  if devices is not None and devices > len(found):
    raise ValueError(
      f"--devices: got {devices}, expected at most the {len(found)} that are"
      " here; only CPUs are made virtually"
    )
  return sharding.make_mesh(
    **dataclasses.asdict(config.mesh), devices=found[:devices]
  )


def _norms(state: state_lib.TrainState) -> dict[str, float]:
  """Of what the updates made, summed in float64."""

  def norm(tree: Any) -> float:
    squares = (
      np.square(jax.device_get(leaf), dtype=np.float64).sum()
      for leaf in jax.tree.leaves(tree)
    )
    return float(np.sqrt(sum(squares)))

  return {"norm/params": norm(state.params), "norm/ema": norm(state.ema)}


def _device_peak(devices: list[Any]) -> int | None:
  stats = [device.memory_stats() for device in devices]
  peaks = [s["peak_bytes_in_use"] for s in stats if s]
  return max(peaks, default=None)
