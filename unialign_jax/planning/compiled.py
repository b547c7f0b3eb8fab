"""The real train step or sampler, compiled for a TPU slice that is not here.

libtpu compiles for any slice on a machine without one, and says what each
chip has to hold, or that it cannot.
"""

import dataclasses
import functools
import os
import pathlib
import re
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.features import storage
from unialign_jax.models import mmdit
from unialign_jax.models import t5
from unialign_jax.planning import collectives
from unialign_jax.sampling import image as image_sampling
from unialign_jax.training import program as program_lib

_NEEDED = re.compile(
  r"(?:Used |temporaries \()([\d.]+)([MG])(?: of|\) exceeds available HBM)"
)
_KERNEL = 'custom_call_target="tpu_custom_call"'
_UNITS = {"M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
  """One program on one chip; bytes.

  Attributes:
    arguments: state, frozen inputs and its part of the batch.
    temporaries: activations and buffers.
    peak: most that is in use at once.
    fits: whether the compiler found room.
    collectives: what is sent; None where it does not fit.
    num_kernels: Pallas kernels in the program.
    seconds: of compilation.
  """

  arguments: float
  temporaries: float
  peak: float
  fits: bool
  collectives: list[collectives.Collective] | None
  num_kernels: int
  seconds: float


def slice_mesh(topology: str, config: config_lib.Config) -> jax.sharding.Mesh:
  """The mesh of a config on the chips of a slice.

  Raises:
    ValueError: no libtpu, an unknown slice, or a mesh that does not divide it.
  """
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # of a cloud's own machines
  # Only chips are one process's alone, and there are none here.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  from jax.experimental import topologies

  try:
    described = topologies.get_topology_desc(
      platform="tpu", topology_name=topology, **_options(topology)
    )
  except Exception as error:  # jax and libtpu raise several kinds
    raise ValueError(
      f"--topology: got {topology!r}, which libtpu does not give"
      f" ({str(error).splitlines()[0]}); install the extra `plan`, or name a"
      " slice as v5e:8x8 or v5p:4x4x4."
    ) from error
  return sharding.make_mesh(
    **dataclasses.asdict(config.mesh), devices=described.devices
  )


def _options(topology: str) -> dict[str, str]:
  """What libtpu has to be told of a slice.

  The two cores of a v4 chip are one device in every run (megacore), and two
  here unless that is asked for.
  """
  is_v4 = topology.startswith("v4:")
  return {"chip_config_name": "megacore"} if is_v4 else {}


def text_model(config: config_lib.Config) -> t5.T5Encoder | None:
  """T5 as the step runs it: the one of the config, or T5-XXL by its sizes."""
  if config.data.text_features != "online":
    return None
  dtype = jnp.dtype(config.model.dtype)
  shape = dataclasses.replace(
    storage.T5_XXL,
    d_model=config.model.text_dim,
    vocab_size=max(storage.T5_XXL.vocab_size, config.model.vocab_size),
    dtype=dtype,
    param_dtype=dtype,
  )
  return t5.T5Encoder(shape)


def train_step(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  num_cond: int,
  options: dict[str, str],
) -> Footprint:
  """Compiles the step for batches with `num_cond` condition images.

  Raises:
    ValueError: a batch or parameter that the mesh does not divide.
  """
  text = text_model(config)
  frozen = program_lib.abstract_frozen(config, mesh, text)
  program = program_lib.build(config, mesh, text_model=text, frozen=frozen)
  batch = program_lib.abstract_batch(config, mesh, num_cond)
  return _compile(program.trace(frozen, batch), options)


def sampler(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  num_cond: int,
  options: dict[str, str],
) -> Footprint:
  """Compiles noise to latents for `batch_size` pictures on all chips."""
  model = mmdit.MMDiT(dataclasses.replace(config.model, remat="none"))
  dtype = jnp.dtype(config.model.dtype)
  text_shape = (config.data.text_length, config.model.text_dim)
  latents = config.latent_shape

  def sharded(spec: jax.P, shape: tuple, dtype: Any) -> jax.ShapeDtypeStruct:
    place = jax.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

  example = functools.partial(sharded, sharding.BATCH)
  params = mmdit.abstract_params(model.config)
  params = jax.tree.map(
    lambda x, spec: sharded(spec, x.shape, dtype),
    params,
    sharding.param_specs(params, mesh),
  )
  draw = jax.jit(
    functools.partial(
      image_sampling.sample_images, model.apply, **config.sample.for_images()
    )
  )
  with jax.set_mesh(mesh):
    traced = draw.trace(
      params,
      example((batch_size, *text_shape), dtype),
      sharded(jax.P(), text_shape, dtype),
      example((batch_size, *latents), jnp.float32),
      cond_BNHWC=example((batch_size, num_cond, *latents), jnp.float32)
      if num_cond
      else None,
    )
  return _compile(traced, options)


def _compile(traced: jax.stages.Traced, options: dict[str, str]) -> Footprint:
  start = time.monotonic()
  lowered = traced.lower()
  try:
    done, hlo = _with_text(lowered, options)
  except jax.errors.JaxRuntimeError as error:
    needed = _NEEDED.search(str(error))
    if not needed:
      raise
    return Footprint(
      arguments=0.0,
      temporaries=0.0,
      peak=float(needed[1]) * _UNITS[needed[2]],
      fits=False,
      collectives=None,
      num_kernels=0,
      seconds=time.monotonic() - start,
    )
  memory = done.memory_analysis()
  return Footprint(
    arguments=memory.argument_size_in_bytes,
    temporaries=memory.temp_size_in_bytes,
    peak=memory.peak_memory_in_bytes,
    fits=True,
    collectives=collectives.read(hlo),
    num_kernels=hlo.count(_KERNEL),
    seconds=time.monotonic() - start,
  )


def _with_text(
  lowered: jax.stages.Lowered, options: dict[str, str]
) -> tuple[jax.stages.Compiled, str]:
  """The executable and its optimised HLO.

  The compiler writes the text itself: newer forms that libtpu uses for v6e
  cannot be read back from the executable by this jaxlib.
  """
  with tempfile.TemporaryDirectory(prefix="unialign-plan-") as folder:
    dump = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
    done = lowered.compile(compiler_options={**dump, **options})
    (text,) = pathlib.Path(folder).glob("*.after_optimizations.txt")
    return done, text.read_text()
