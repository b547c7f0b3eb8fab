"""Footprints and rooflines together: a plan; and a search for what fits."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.planning import chips as chips_lib
from unialign_jax.planning import compiled
from unialign_jax.planning import estimate
from unialign_jax.training import flops

# From the fastest to the one that needs least memory.
REMATS = ("none", "attention_qkv_mlp", "attention_qkv", "attention", "full")
_DAY = 86_400
_TARGET_MFU = 0.4  # what a well-tuned step reaches; days are told for it too


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One task shape.

  Attributes:
    num_cond: condition images of a record.
    share: of the steps.
    footprint: of the compiled step; None for a chip that is not compiled for.
    time: the roofline.
    sent: bytes a chip sends, by kind of collective.
  """

  num_cond: int
  share: float
  footprint: compiled.Footprint | None
  time: estimate.StepTime
  sent: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A config on a slice."""

  config: config_lib.Config
  topology: str
  chip: chips_lib.Chip
  num_chips: int
  mesh: dict[str, int]
  state: estimate.StateBytes
  rows: list[Row]
  sampler: compiled.Footprint | None
  sampler_flops: float  # of one chip

  @property
  def fits(self) -> bool:
    """Whether everything that was compiled found room."""
    footprints = [row.footprint for row in self.rows] + [self.sampler]
    return all(f.fits for f in footprints if f is not None)

  @property
  def step_seconds(self) -> float:
    """Of the roofline, over the shares of the task shapes."""
    total = sum(row.share for row in self.rows)
    return sum(row.share * row.time.seconds for row in self.rows) / total

  @property
  def days(self) -> float:
    """Of the whole stage at the roofline."""
    return self.step_seconds * self.config.train.steps / _DAY

  def days_at(self, mfu: float) -> float:
    """Of the whole stage at an MFU."""
    total = sum(row.share for row in self.rows)
    work = sum(row.share * row.time.model_flops for row in self.rows) / total
    return work / (mfu * self.chip.flops) * self.config.train.steps / _DAY

  def tree(self) -> dict[str, Any]:
    """For JSON: bytes, seconds, FLOPs, of one chip where nothing is said."""
    return {
      "topology": self.topology,
      "chip": dataclasses.asdict(self.chip),
      "chips": self.num_chips,
      "mesh": self.mesh,
      "batch_size": self.config.data.batch_size,
      "accumulation": self.config.train.accumulation,
      "remat": self.config.model.remat,
      "fits": self.fits,
      "state": dataclasses.asdict(self.state),
      "shapes": [_row_tree(row, self) for row in self.rows],
      "step_seconds": self.step_seconds,
      "days": self.days,
      f"days_at_{_TARGET_MFU:.0%}_mfu": self.days_at(_TARGET_MFU),
      "sampler": _footprint_tree(self.sampler),
    }

  def text(self) -> str:
    """As a person reads it."""
    config, mesh = (
      self.config,
      ", ".join(f"{k} {v}" for k, v in self.mesh.items()),
    )
    lines = [
      f"{self.topology}: {self.num_chips} chips, mesh {mesh}; batch"
      f" {config.data.batch_size}, accumulation {config.train.accumulation},"
      f" remat {config.model.remat}",
      "",
      f"per chip, GiB of {self.chip.memory / chips_lib.GIB:.2f}",
      *(
        f"  {name.replace('_', ' '):14}{value / chips_lib.GIB:8.2f}"
        for name, value in dataclasses.asdict(self.state).items()
      ),
    ]
    for row in self.rows:
      lines += ["", *_row_lines(row, self)]
    lines += [
      "",
      f"stage of {config.train.steps} steps: {self.days:.2f} days at the"
      f" roofline, {self.days_at(_TARGET_MFU):.2f} at {_TARGET_MFU:.0%} MFU",
    ]
    if self.sampler:
      lines.append(_sampler_line(self))
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """What a search settled on, and what it saw."""

  config: config_lib.Config
  told: str


def as_planned(values: ml_collections.ConfigDict) -> config_lib.Config:
  """A config whose encoders and feature sets need not be there.

  Raises:
    ValueError: as `config.from_dict`.
  """
  values = values.copy_and_resolve_references()
  values.encoders.text = values.encoders.text or "planned"
  return config_lib.from_dict(values)


def parse_conditions(texts: Sequence[str]) -> dict[int, float]:
  """`["0:0.35", "1:0.65"]` or `["0", "1"]` as {number: share}.

  Raises:
    ValueError: anything else.
  """
  shares = {}
  for text in texts:
    number, _, share = text.partition(":")
    try:
      shares[int(number)] = float(share or 1)
    except ValueError:
      raise ValueError(
        f"--conditions: got {text!r}, expected N or N:SHARE, as 0:0.35,1:0.65."
      ) from None
  return shares


def plan(
  config: config_lib.Config,
  topology: str,
  shares: Mapping[int, float],
  *,
  sample_batch: int = 0,
) -> Plan:
  """Compiles, or calculates, every task shape.

  Args:
    config: of the run.
    topology: as `chips.parse` reads it.
    shares: of the steps, by number of condition images.
    sample_batch: pictures that the sampler draws at once; 0 for no sampler.

  Raises:
    ValueError: an unknown slice, or a config that does not fit it.
  """
  chip, count = chips_lib.parse(topology)
  mesh = _mesh(config, topology, chip, count)
  state = estimate.state_bytes(config, mesh)
  rows = [
    _row(config, chip, mesh, num_cond, share, state)
    for num_cond, share in shares.items()
  ]
  sampler = None
  if sample_batch and chip.is_tpu:
    options = dict(config.train.compiler_options)
    sampler = compiled.sampler(config, mesh, sample_batch, 0, options)
  target = (config.data.latent_side // config.model.patch_size) ** 2
  forward = flops.forward(config.model, target, config.data.text_length)
  guided = 2 if config.sample.guidance != 1 else 1
  return Plan(
    config=config,
    topology=topology,
    chip=chip,
    num_chips=count,
    mesh=dict(mesh.shape),
    state=state,
    rows=rows,
    sampler=sampler,
    sampler_flops=guided * config.sample.steps * forward * sample_batch / count,
  )


def _row(
  config: config_lib.Config,
  chip: chips_lib.Chip,
  mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh,
  num_cond: int,
  share: float,
  state: estimate.StateBytes,
) -> Row:
  """One task shape: compiled for a TPU, by formula for others."""
  footprint, resident = None, state.total
  if chip.is_tpu:
    options = dict(config.train.compiler_options)
    footprint = compiled.train_step(config, mesh, num_cond, options)
    resident = footprint.arguments + footprint.temporaries
    sent = estimate.by_kind(footprint)
  else:
    sent = {"by formula": estimate.sent_by_formula(config, mesh)}
  time = estimate.step_time(
    config,
    chip,
    mesh.size,
    num_cond,
    resident=resident,
    sent=sum(sent.values()),
  )
  return Row(
    num_cond=num_cond, share=share, footprint=footprint, time=time, sent=sent
  )


def search(
  config: config_lib.Config, topology: str, conditions: Sequence[int]
) -> Found:
  """The lightest remat at the config's batch, and how far each remat goes.

  The batch of the result is the config's: another would be another run. The
  largest that fits is told beside it.

  Raises:
    ValueError: nothing fits, or the slice is not compiled for.
  """
  chip, count = chips_lib.parse(topology)
  if not chip.is_tpu:
    raise ValueError(f"--search: got {topology}, expected a TPU slice.")
  mesh = _mesh(config, topology, chip, count)
  options = dict(config.train.compiler_options)
  worst = max(conditions)  # the longest sequence needs most

  def fits(remat: str, batch: int) -> bool:
    tried = _changed(config, remat, batch)
    return compiled.train_step(tried, mesh, worst, options).fits

  unit = mesh.shape["data"] * mesh.shape["fsdp"] * config.train.accumulation
  told, chosen = [], None
  for remat in REMATS:
    largest = _largest(lambda batch, r=remat: fits(r, batch), unit)
    told.append(f"remat {remat}: batch {largest or 'none'} fits at most")
    if chosen is None and largest >= config.data.batch_size:
      chosen = remat
  if chosen is None:
    raise ValueError(
      "--search: no remat policy fits batch"
      f" {config.data.batch_size} on {topology}; " + "; ".join(told)
    )
  return Found(
    config=_changed(config, chosen, config.data.batch_size),
    told="\n".join(told),
  )


def _largest(fits: Any, unit: int) -> int:
  """The largest unit 2^k that fits, or 0; at most 64 examples a device."""
  largest = 0
  for k in range(7):
    if not fits(unit << k):
      break
    largest = unit << k
  return largest


def _changed(
  config: config_lib.Config, remat: str, batch: int
) -> config_lib.Config:
  return dataclasses.replace(
    config,
    model=dataclasses.replace(config.model, remat=remat),
    data=dataclasses.replace(config.data, batch_size=batch),
  )


def _mesh(
  config: config_lib.Config, topology: str, chip: chips_lib.Chip, count: int
) -> jax.sharding.Mesh | jax.sharding.AbstractMesh:
  if chip.is_tpu:
    return compiled.slice_mesh(topology, config)
  sizes = sharding.mesh_sizes(
    **dataclasses.asdict(config.mesh), num_devices=count
  )
  return jax.sharding.AbstractMesh(sizes, sharding.AXES)


def _row_tree(row: Row, plan: Plan) -> dict[str, Any]:
  return {
    "num_cond": row.num_cond,
    "share": row.share,
    **_footprint_tree(row.footprint),
    "compute_seconds": row.time.compute,
    "memory_seconds": row.time.memory,
    "link_seconds": row.time.links,
    "step_seconds": row.time.seconds,
    "limit": row.time.limit,
    "model_flops": row.time.model_flops,
    "mfu_bound": row.time.mfu_bound,
    "images_per_second": plan.config.data.batch_size / row.time.seconds,
    "bytes_sent": row.sent,
  }


def _footprint_tree(footprint: compiled.Footprint | None) -> dict[str, Any]:
  if footprint is None:
    return {}
  return {
    "arguments": footprint.arguments,
    "temporaries": footprint.temporaries,
    "peak": footprint.peak,
    "fits": footprint.fits,
    "compile_seconds": footprint.seconds,
  }


def _row_lines(row: Row, plan: Plan) -> list[str]:
  batch = plan.config.data.batch_size
  lines = [f"{row.num_cond} condition images, {row.share:g} of the steps"]
  if row.footprint:
    lines.append(_memory_line(row.footprint, plan.chip))
  sent = ", ".join(f"{k} {v / 1e9:.2f}" for k, v in row.sent.items())
  time = row.time
  lines += [
    f"  sent GB: {sent or 'nothing'}",
    f"  step at least {time.seconds:.3f} s: compute {time.compute:.3f}, memory"
    f" {time.memory:.3f}, links {time.links:.3f}; {time.limit} is the limit",
    f"  {time.model_flops / 1e12:.1f} model TFLOP, MFU at most"
    f" {time.mfu_bound:.0%}, {batch / time.seconds:.0f} images/s at most",
  ]
  return lines


def _memory_line(footprint: compiled.Footprint, chip: chips_lib.Chip) -> str:
  peak, arguments, temporaries = (
    getattr(footprint, name) / chips_lib.GIB
    for name in ("peak", "arguments", "temporaries")
  )
  if not footprint.fits:
    return (
      f"  does NOT fit: needs {peak:.2f} GiB of"
      f" {chip.memory / chips_lib.GIB:.2f} ({footprint.seconds:.0f} s)"
    )
  return (
    f"  peak {peak:.2f} GiB: arguments {arguments:.2f}, temporaries"
    f" {temporaries:.2f} (compiled in {footprint.seconds:.0f} s)"
  )


def _sampler_line(plan: Plan) -> str:
  seconds = plan.sampler_flops / plan.chip.flops
  return (
    f"sampler of {plan.config.sample.steps} steps:\n"
    f"{_memory_line(plan.sampler, plan.chip)}\n"
    f"  compute at least {seconds:.3f} s"
  )
