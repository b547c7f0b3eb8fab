"""How long a step takes at best, from formulas and what the compiler says.

    step >= max(FLOPs / peak, bytes of memory / bandwidth, bytes sent / links)

A roofline: nothing overlaps badly, no kernel misses its peak. The MFU that it
leaves is a bound, not a promise; peers reach 40 to 65 % of peak.
"""

import dataclasses
import math

import jax

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.models import mmdit
from unialign_jax.models import t5
from unialign_jax.planning import chips as chips_lib
from unialign_jax.planning import collectives
from unialign_jax.planning import compiled
from unialign_jax.training import flops
from unialign_jax.training import optimizer as optimizer_lib
from unialign_jax.training import state as state_lib

# Share of the trunk's forward pass that the backward pass does again.
_AGAIN = {"none": 0.0, "full": 1.0, "dots": 0.05}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateBytes:
  """Of one chip."""

  params: float
  ema: float
  optimizer: float
  text_encoder: float

  @property
  def total(self) -> float:
    return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepTime:
  """Seconds of one step on one chip, at least.

  Attributes:
    compute: of the FLOPs that are done, repeated ones included.
    memory: to read and write once what lies there.
    links: of the bytes sent.
    model_flops: that the model needs, of one chip.
    mfu_bound: model FLOPs over what the peak would do in `seconds`.
  """

  compute: float
  memory: float
  links: float
  model_flops: float
  mfu_bound: float

  @property
  def seconds(self) -> float:
    return max(self.compute, self.memory, self.links)

  @property
  def limit(self) -> str:
    """What the step waits for."""
    times = {n: getattr(self, n) for n in ("compute", "memory", "links")}
    return max(times, key=times.__getitem__)


def state_bytes(
  config: config_lib.Config, mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh
) -> StateBytes:
  """What lies on a chip from step to step, by the sharding table.

  Raises:
    ValueError: a parameter that the mesh does not divide.
  """
  state = jax.eval_shape(
    lambda: state_lib.create(
      mmdit.MMDiT(config.model),
      optimizer_lib.make(config.optimizer, config.train.steps),
      config.seed,
      latent_shape=config.latent_shape,
      text_length=config.data.text_length,
    )
  )
  shardings = sharding.state_shardings(state, mesh)

  def size(tree: object, places: object) -> float:
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(places))
    return float(
      sum(
        math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf, place in leaves
      )
    )

  text = compiled.text_model(config)
  encoder = 0.0 if text is None else 2.0 * _num_params(text)
  return StateBytes(
    params=size(state.params, shardings.params),
    ema=size(state.ema, shardings.ema),
    optimizer=size(state.opt_state, shardings.opt_state),
    text_encoder=encoder / mesh.shape["fsdp"],
  )


def step_time(
  config: config_lib.Config,
  chip: chips_lib.Chip,
  num_chips: int,
  num_cond: int,
  *,
  resident: float,
  sent: float,
) -> StepTime:
  """The roofline of a train step.

  Args:
    config: of the run.
    chip: which.
    num_chips: of the slice.
    num_cond: condition images of a record.
    resident: bytes on a chip, each read and written once.
    sent: bytes that a chip sends.
  """
  data, model = config.data, config.model
  target = (data.latent_side // model.patch_size) ** 2
  shape = {
    "batch_size": data.batch_size,
    "target_tokens": target,
    "text_tokens": data.text_length,
  }
  step = flops.train_step(model, num_cond=num_cond, **shape)
  text = compiled.text_model(config)
  encoder = 0.0
  if text is not None:
    each = flops.text_encoder(text.config, data.text_length)
    encoder = 2 * data.batch_size * each
  again = (
    step / 3 * recomputed(model, target * (1 + num_cond), data.text_length)
  )
  if config.train.accumulation > 1:
    again += step / 3  # the embedding pass of exact accumulation
  compute = (step + encoder + again) / num_chips / chip.flops
  memory = 2 * resident / chip.memory_bandwidth
  links = sent / chip.link_bandwidth
  needed = (step + encoder) / num_chips
  return StepTime(
    compute=compute,
    memory=memory,
    links=links,
    model_flops=needed,
    mfu_bound=needed / chip.flops / max(compute, memory, links),
  )


def recomputed(
  model: mmdit.MMDiTConfig, image_tokens: int, text_tokens: int
) -> float:
  """Share of the forward FLOPs that remat does again in the backward pass."""
  if model.remat in _AGAIN:
    return _AGAIN[model.remat]
  S, D = image_tokens + text_tokens, model.width
  linear = (8 + 4 * model.mlp_ratio) * D * D
  whole = linear + 4 * S * D
  saved = {
    "attention": 4 * S * D,
    "attention_qkv": 4 * S * D + 6 * D * D,
    "attention_qkv_mlp": 4 * S * D + (6 + 2 * model.mlp_ratio) * D * D,
  }
  return 1.0 - saved[model.remat] / whole


def sent_by_formula(
  config: config_lib.Config, mesh: jax.sharding.AbstractMesh
) -> float:
  """Bytes that a chip sends where nothing was compiled.

  Parameters in the activations' dtype are gathered along `fsdp` for the
  forward and the backward of both passes, gradients are scattered once a pass,
  and reduced along `data`.
  """
  params = mmdit.abstract_params(config.model)
  num = sum(leaf.size for leaf in jax.tree.leaves(params))
  fsdp, data = mesh.shape["fsdp"], mesh.shape["data"]
  width = 2 if config.model.dtype == "bfloat16" else 4
  whole = width * num / mesh.shape["tensor"]
  again = 0 if config.model.remat == "none" else 2
  sent = (4 + again + 2) * whole * (fsdp - 1) / fsdp
  text = compiled.text_model(config)
  if text is not None:
    sent += 2.0 * _num_params(text) * (fsdp - 1) / fsdp
  return sent + 2 * 4 * num / fsdp * (data - 1) / data


def by_kind(footprint: compiled.Footprint) -> dict[str, float]:
  """Bytes sent by kind of collective, or nothing where it did not compile."""
  return collectives.by_kind(footprint.collectives or [])


def _num_params(text: t5.T5Encoder) -> int:
  ids = jax.ShapeDtypeStruct((1, 8), "int32")
  shapes = jax.eval_shape(text.init, jax.random.key(0), ids)
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))
