"""From a checked config to everything a run needs, sharded and jitted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.data import damage
from unialign_jax.data import feature_set
from unialign_jax.data import pipeline
from unialign_jax.features import encoders
from unialign_jax.features import manifest
from unialign_jax.features import null_prompt
from unialign_jax.features import placement
from unialign_jax.sampling import showcase
from unialign_jax.training import program as program_lib
from unialign_jax.training import state as state_lib

# Fields of a batch that are for accounting, not for the train step; but for
# the source where the step keeps losses of each (`train.spike_window`).
BOOKKEEPING = ("record_id", "source_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """The parts of a run; `loop.run` turns them over."""

  config: config_lib.Config
  program: program_lib.Program
  batches: pipeline.Batches
  frozen: state_lib.Frozen
  showcase: showcase.Showcase | None

  def to_devices(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """This host's part of a batch -> global arrays, spread over the mesh."""
    spread = jax.NamedSharding(self.program.mesh, sharding.BATCH)
    left_out = set(BOOKKEEPING)
    if self.config.train.spike_window:
      left_out.remove("source_id")
    return {
      name: jax.make_array_from_process_local_data(spread, value)
      for name, value in batch.items()
      if name not in left_out
    }


def prepare(config: config_lib.Config) -> Run:
  """Checks everything that can be checked before a compiler runs.

  Raises:
    ValueError: a mesh, batch, feature set or encoder that does not fit.
  """
  mesh = sharding.make_mesh(**dataclasses.asdict(config.mesh))
  sharding.check_batch(mesh, config.data.batch_size, config.train.accumulation)
  text_encoder, image_encoder = _text_encoder(config), _image_encoder(config)
  expectations = _expectations(config, text_encoder, image_encoder)
  batches = pipeline.make_pipeline(
    config.data,
    expectations,
    host_index=jax.process_index(),
    hosts=jax.process_count(),
  )
  frozen = _frozen(config, mesh, batches, text_encoder)
  is_online = frozen.text_encoder is not None
  return Run(
    config=config,
    program=program_lib.build(
      config,
      mesh,
      text_model=text_encoder.model if is_online else None,
      frozen=frozen,
    ),
    batches=batches,
    frozen=frozen,
    showcase=_showcase(config, expectations, text_encoder, image_encoder, mesh),
  )


def _frozen(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  batches: pipeline.Batches,
  text_encoder: encoders.TextEncoder | None,
) -> state_lib.Frozen:
  """What every step reads and none changes, on the devices."""
  null = null_prompt.load(batches.feature_sets[0].folder)
  params = None
  if config.data.text_features == "online":
    cut = placement.t5_shardings(text_encoder.params, mesh, "fsdp")
    params = jax.device_put(text_encoder.params, cut)
  return state_lib.Frozen(
    null_text_LE=jax.device_put(
      jnp.asarray(null.features), jax.NamedSharding(mesh, jax.P())
    ),
    text_encoder=params,
  )


def _expectations(
  config: config_lib.Config,
  text_encoder: encoders.TextEncoder | None,
  image_encoder: encoders.ImageEncoder | None,
) -> manifest.Expectations:
  """What feature sets must be, down to the weights of what encoded them."""
  return dataclasses.replace(
    config.expectations(),
    text_encoder=text_encoder.identity if text_encoder else None,
    image_encoder=image_encoder.identity if image_encoder else None,
  )


def _text_encoder(config: config_lib.Config) -> encoders.TextEncoder | None:
  """T5, where the config names one and anything needs it."""
  if not config.encoders.text:
    return None
  encoder = encoders.TextEncoder.load(
    config.encoders.text,
    config.encoders.tokenizer,
    mask_embedding=config.encoders.mask_embedding or None,
    dtype=jnp.dtype(config.model.dtype),
    # Frozen: nothing is lost by holding it in what it computes with.
    param_dtype=jnp.dtype(config.model.dtype),
  )
  for key, got, expected in (
    ("model.vocab_size", config.model.vocab_size, encoder.vocab_size),
    ("model.text_dim", config.model.text_dim, encoder.config.d_model),
    ("data.mask_id", config.data.mask_id, encoder.mask_id),
  ):
    if got != expected:
      raise ValueError(
        f"config.{key}: got {got}, expected {expected}, as the encoder in"
        f" config.encoders.text = {config.encoders.text} has it."
      )
  return encoder


def _image_encoder(config: config_lib.Config) -> encoders.ImageEncoder | None:
  """The VAE, where the config names one."""
  if not config.encoders.image:
    return None
  return encoders.ImageEncoder.load(config.encoders.image)


def _showcase(
  config: config_lib.Config,
  expectations: manifest.Expectations,
  text_encoder: encoders.TextEncoder | None,
  image_encoder: encoders.ImageEncoder | None,
  mesh: jax.sharding.Mesh,
) -> showcase.Showcase | None:
  """The sampler of the run, where `sample_every` asks for one."""
  if not config.train.sample_every or not config.sample.sources:
    return None
  if text_encoder is None or image_encoder is None:
    raise ValueError(
      "config.encoders: got text"
      f" {config.encoders.text!r} and image {config.encoders.image!r}, expected"
      " the folders of T5 and VAE, because config.train.sample_every asks for"
      " samples; name them, or set sample_every to 0."
    )
  counter = damage.DamageCounter(config.data.max_damaged_records)
  sources = []
  for name in config.sample.sources:
    folder = config.data.folder(name)
    opened = feature_set.FeatureSet(folder, expectations, counter)
    count = min(config.sample.per_source, len(opened))
    elements = [opened.element(i, visit=0) for i in range(count)]
    sources.append(
      (
        opened.manifest.layout.task,
        {name: np.stack([e[name] for e in elements]) for name in elements[0]},
      )
    )
  return showcase.Showcase(config, text_encoder, image_encoder, sources, mesh)
