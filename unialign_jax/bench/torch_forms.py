"""The forms of the PyTorch step, checked against JAX and timed.

Importable without torch; `measure` needs it.
"""

import dataclasses
import os
import pathlib
import time
from typing import TYPE_CHECKING

from unialign_jax import config as config_lib
from unialign_jax.bench import handover
from unialign_jax.bench import jax_step

if TYPE_CHECKING:
  from unialign_jax.bench import torch_step

# Largest relative difference between what both compute. Half precision is not
# the same on both sides: autocast leaves other operations in float32.
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}
# Of the gradient norm: on CPUs PyTorch's norm of twelve million float32 numbers
# is 5e-4 too small.
_OF_NORM = {"float32": 1e-3, "bfloat16": 1e-2}
# What is smaller than this is a difference of larger numbers, such as the
# InfoNCE of a single pair.
_LEAST = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
  """Steps of one form.

  Attributes:
    first: seconds of the first step, `torch.compile` included.
    steps: of each synchronised step after the warm-up, seconds.
    apart: largest relative difference of a number from that of JAX.
    device_peak: most bytes allocated on a GPU; None without one.
  """

  first: float
  steps: list[float]
  apart: float
  device_peak: int | None


def measure(
  folder: pathlib.Path,
  config: config_lib.Config,
  is_compiled: bool,
  expected: list[dict[str, float]],
  repeats: int,
) -> Measured:
  """Takes the warm-up steps, compares what they computed, and times others.

  Args:
    folder: from `handover.write`.
    config: of the run; its `model.dtype` says whether there is autocast.
    is_compiled: through `torch.compile`.
    expected: what JAX computed in the warm-up steps.
    repeats: steps that are timed.

  Raises:
    ValueError: torch or diffusers are not there, or the numbers differ.
  """
  # No result of an earlier run, and none left for the next.
  os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
  try:
    import diffusers  # noqa: F401
    import torch
  except ImportError as error:
    raise ValueError(
      f"--against=torch: {error}; install torch and diffusers."
    ) from error
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  on_gpu = torch.cuda.is_available()
  # On GPUs float32 products are TF32 on both sides.
  dtype = "bfloat16" if on_gpu else config.model.dtype
  if on_gpu:
    torch.set_float32_matmul_precision("high")
  step, batch, draws = load(folder, config, is_compiled)

  def take(number: int) -> tuple[float, dict[str, float]]:
    start = time.perf_counter()
    metrics = step(batch, draws[number % len(draws)])
    if on_gpu:
      torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, {k: float(v) for k, v in metrics.items()}

  warm = [take(number) for number in range(jax_step.WARM_UP)]
  computed = [metrics for _, metrics in warm]
  computed[-1] |= step.norms()
  apart = compare(computed, expected, dtype)
  return Measured(
    first=warm[0][0],
    steps=[take(number)[0] for number in range(repeats)],
    apart=apart,
    device_peak=torch.cuda.max_memory_allocated() if on_gpu else None,
  )


def load(
  folder: pathlib.Path, config: config_lib.Config, is_compiled: bool
) -> tuple["torch_step.Step", dict, list[dict]]:
  """The step with its weights, the batch, and the draws of each step."""
  import torch
  from safetensors import torch as files

  from unialign_jax.bench import torch_step

  device = "cuda" if torch.cuda.is_available() else "cpu"
  with torch.device(device):  # fresh weights take long on a CPU
    network = torch_step.Transformer(**handover.describe(config))
  network.load_state_dict(files.load_file(folder / handover.WEIGHTS))
  objective = torch_step.Objective(
    network.train().to(device),
    config.loss,
    config.data.mask_id,
    config.diffusion.text_t_min,
    getattr(torch, config.model.dtype),
  )
  batch = files.load_file(folder / handover.BATCH, device)
  if config.model.dtype == "float32":
    for name in ("prompt_features", "masked_features", "null_text"):
      batch[name] = batch[name].float()
  draws = [
    files.load_file(folder / handover.DRAW.format(number), device)
    for number in range(jax_step.WARM_UP)
  ]
  step = torch_step.Step(objective, config.optimizer, is_compiled)
  return step, batch, draws


def compare(
  computed: list[dict[str, float]],
  expected: list[dict[str, float]],
  dtype: str,
) -> float:
  """The largest relative difference.

  Args:
    computed: numbers by name, of each step.
    expected: the same of JAX, and perhaps others.
    dtype: a key of `TOLERANCE`.

  Raises:
    ValueError: it does not; or a number is not finite.
  """
  largest = 0.0
  for number, (ours, theirs) in enumerate(zip(computed, expected, strict=True)):
    for name, value in ours.items():
      tolerance = (_OF_NORM if name == "grad_norm" else TOLERANCE)[dtype]
      apart = abs(value - theirs[name]) / max(abs(theirs[name]), _LEAST)
      if not apart < tolerance:  # also if it is NaN
        raise ValueError(
          f"--against=torch: {name} of step {number}: got {value} in PyTorch,"
          f" expected {theirs[name]} as in JAX, within {tolerance}: the two do"
          " not compute the same, so their times do not compare"
        )
      largest = max(largest, apart)
  return largest
