"""Config file -> checked, frozen dataclasses; the only reader of ConfigDicts.

Each group of `configs/base.py` is splatted into the dataclass of the code that
uses it, so a mistyped or missing key is an error at start, before anything is
compiled. All defaults live in `configs/base.py`.
"""

import dataclasses
import difflib
import json
import pathlib
import runpy
import sys
from collections.abc import Mapping
from typing import Any

import ml_collections

from unialign_jax import losses
from unialign_jax.data import pipeline
from unialign_jax.diffusion import flow
from unialign_jax.features import manifest
from unialign_jax.models import mmdit
from unialign_jax.sampling import guidance
from unialign_jax.sampling import text as text_sampling
from unialign_jax.training import objective
from unialign_jax.training import optimizer
from unialign_jax.training import spikes

ON_SPIKE = ("skip", "rewind")
_SHIPPED = pathlib.Path(__file__).resolve().parent.parent / "configs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(pipeline.DataConfig):
  """`data`: what is read, and what each record must look like."""

  resolution: int
  latent_factor: int
  text_length: int
  text_features: str
  mask_id: int
  max_cond: int

  @property
  def latent_side(self) -> int:
    return self.resolution // self.latent_factor


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodersConfig:
  """`encoders`: folders in Hugging Face layout; "" where not needed."""

  text: str
  tokenizer: str
  mask_embedding: str
  image: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
  """`mesh`: devices along each axis; -1 takes what is left."""

  data: int
  fsdp: int
  tensor: int
  sequence: int

  def __post_init__(self) -> None:
    sizes = dataclasses.astuple(self)
    if sizes.count(-1) > 1 or any(s < 1 and s != -1 for s in sizes):
      raise ValueError(
        f"config.mesh: got data, fsdp, tensor, sequence = {sizes}, expected"
        " positive numbers, at most one of them -1 (what is left)."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """`train`: length of the run, and what happens every so many steps."""

  steps: int
  accumulation: int
  log_every: int
  log_records: bool
  checkpoint_every: int
  keep_checkpoints: int
  keep_every: int
  sample_every: int
  max_bad_steps: int
  spike_window: int
  spike_factor: float
  on_spike: str
  max_rewinds: int
  watchdog_factor: float
  watchdog_seconds: float
  init_from: str
  compiler_options: tuple[tuple[str, str], ...]

  def __post_init__(self) -> None:
    for name, least in (
      ("steps", 1),
      ("accumulation", 1),
      ("log_every", 1),
      ("checkpoint_every", 1),
      ("keep_checkpoints", 1),
      ("keep_every", 0),
      ("sample_every", 0),
      ("max_bad_steps", 1),
      ("spike_window", 0),
      ("spike_factor", 1),
      ("max_rewinds", 0),
      ("watchdog_factor", 1),
      ("watchdog_seconds", 0),
    ):
      if (value := getattr(self, name)) < least:
        raise ValueError(
          f"config.train.{name}: got {value}, expected >= {least}."
        )
    if self.keep_every % self.checkpoint_every:
      raise ValueError(
        f"config.train.keep_every: got {self.keep_every}, expected 0 or a"
        " multiple of config.train.checkpoint_every ="
        f" {self.checkpoint_every}; no checkpoint is saved in between."
      )
    if self.spike_window > spikes.MAX_WINDOW:
      raise ValueError(
        f"config.train.spike_window: got {self.spike_window}, expected at most"
        f" {spikes.MAX_WINDOW}."
      )
    if self.on_spike not in ON_SPIKE:
      raise ValueError(
        f"config.train.on_spike: got {self.on_spike!r}, expected one of"
        f" {ON_SPIKE}."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig:
  """`sample`: how pictures and texts are drawn from the EMA weights."""

  sources: tuple[str, ...]
  per_source: int
  steps: int
  guidance: float
  guidance_rescale: float
  guidance_interval: tuple[float, float]
  shift: float
  solver: str
  text_steps: int
  text_schedule: str
  text_temperature: float

  def __post_init__(self) -> None:
    guidance.check(self.guidance, self.guidance_rescale, self.guidance_interval)
    flow.timesteps(self.steps, self.shift)
    for name, known in (
      ("solver", tuple(flow.SOLVERS)),
      ("text_schedule", text_sampling.SCHEDULES),
    ):
      if getattr(self, name) not in known:
        raise ValueError(
          f"config.sample.{name}: got {getattr(self, name)!r}, expected one"
          f" of {known}."
        )
    for name, least in (
      ("per_source", 1),
      ("text_steps", 1),
      ("text_temperature", 0),
    ):
      if getattr(self, name) < least:
        raise ValueError(
          f"config.sample.{name}: got {getattr(self, name)}, expected at least"
          f" {least}."
        )

  def for_images(self) -> dict[str, Any]:
    """Settings of `sampling.image.sample_images`."""
    return {
      "steps": self.steps,
      "guidance": self.guidance,
      "shift": self.shift,
      "solver": self.solver,
      "guidance_rescale": self.guidance_rescale,
      "guidance_interval": self.guidance_interval,
    }

  def for_texts(self) -> dict[str, Any]:
    """Settings of `sampling.text.sample_text`."""
    return {
      "steps": self.text_steps,
      "schedule": self.text_schedule,
      "temperature": self.text_temperature,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """A whole run, checked. `configs/base.py` documents every key."""

  seed: int
  model: mmdit.MMDiTConfig
  diffusion: objective.DiffusionConfig
  loss: losses.LossConfig
  optimizer: optimizer.OptimizerConfig
  data: DataConfig
  encoders: EncodersConfig
  mesh: MeshConfig
  train: TrainConfig
  sample: SampleConfig

  def __post_init__(self) -> None:
    data, accumulation = self.data, self.train.accumulation
    unit = data.latent_factor * self.model.patch_size
    if data.resolution % unit:
      raise ValueError(
        f"config.data.resolution: got {data.resolution} pixels, expected a"
        f" multiple of {unit} (data.latent_factor x model.patch_size)."
      )
    if data.batch_size % accumulation:
      raise ValueError(
        f"config.data.batch_size: got {data.batch_size}, expected a multiple"
        f" of config.train.accumulation = {accumulation}."
      )
    if not data.sources:
      raise ValueError(
        "config.data.sources: got none, expected at least one (folder, weight)"
        " of a feature set; write one with `python -m unialign_jax.precompute`."
      )
    if self.train.spike_window and len(data.sources) > spikes.MAX_SOURCES:
      raise ValueError(
        f"config.train.spike_window: got {self.train.spike_window} with"
        f" {len(data.sources)} config.data.sources, expected 0 with more than"
        f" {spikes.MAX_SOURCES}."
      )
    if data.text_features == "online" and not self.encoders.text:
      raise ValueError(
        'config.encoders.text: got "", expected the folder of a T5 encoder,'
        ' because config.data.text_features = "online".'
      )
    optimizer.learning_rate(self.optimizer, self.train.steps)

  @property
  def latent_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of one picture's latents."""
    side = self.data.latent_side
    return side, side, self.model.in_channels

  def expectations(self) -> manifest.Expectations:
    """What every feature set must be for this run."""
    tokens = (self.data.latent_side // self.model.patch_size) ** 2
    by_patch = self.loss.intrinsic_image == "patches"
    return manifest.Expectations(
      latent_shape=self.latent_shape,
      text_length=self.data.text_length,
      vocab_size=self.model.vocab_size,
      mask_id=self.data.mask_id,
      text_dim=self.model.text_dim,
      semantic_dim=self.model.semantic_dim,
      semantic_tokens=tokens if by_patch else 0,
      max_cond=self.data.max_cond,
      text_features=self.data.text_features,
    )


def from_dict(values: Mapping[str, Any]) -> Config:
  """Checks a whole config.

  Raises:
    ValueError: for unknown, missing or mistyped keys, or values out of range.
  """
  return checked(Config, values)


def from_saved(values: Mapping[str, Any]) -> Config:
  """The config of an earlier run; keys that came since have their defaults.

  Raises:
    ValueError: as `from_dict`.
  """
  defaults = load_file("base.py").to_dict()
  for group, keys in values.items():
    known = defaults.get(group)
    defaults[group] = known | keys if isinstance(known, dict) else keys
  return from_dict(defaults)


def checked(kind: type, values: Mapping[str, Any]) -> Any:
  """What a config file returns as the dataclass `kind`, strictly.

  Raises:
    ValueError: as `from_dict`.
  """
  return _build(kind, _plain(values), "config")


def find_file(name: str) -> pathlib.Path:
  """A config file by path, or by bare name in `configs/`.

  Config files say `from configs import base`, so their parent is made
  importable from wherever they are run.

  Raises:
    ValueError: no such file.
  """
  path = pathlib.Path(name)
  if not path.exists() and path.parent == pathlib.Path("."):
    path = _SHIPPED / path.name
  if not path.is_file():
    known = sorted(p.name for p in _SHIPPED.glob("*.py") if p.stem[0] != "_")
    raise ValueError(
      f"--config: got {name!r}, expected a path, or one of {known} (in"
      f" {_SHIPPED})."
    )
  if str(_SHIPPED.parent) not in sys.path:
    sys.path.insert(0, str(_SHIPPED.parent))
  return path.resolve()


def load_file(name: str) -> ml_collections.ConfigDict:
  """What a config file's `get_config` returns; see `find_file`.

  Args:
    name: of the file; "stage2.py:tiny" asks it for the variant "tiny".
  """
  name, *variant = name.split(":", 1)
  return runpy.run_path(str(find_file(name)))["get_config"](*variant)


def dumps(config: Config) -> str:
  """JSON of a run, as `config.json` holds it."""
  return json.dumps(dataclasses.asdict(config), indent=2)


def _plain(values: Any) -> Any:
  """ConfigDicts to dicts, lists to tuples (a frozen config holds no lists)."""
  if isinstance(values, Mapping | ml_collections.ConfigDict):
    return {key: _plain(value) for key, value in values.items()}
  if isinstance(values, list | tuple):
    return tuple(_plain(value) for value in values)
  return values


def _build(kind: type, values: Any, path: str) -> Any:
  """`values` as the dataclass `kind`, strictly: same keys, fitting types."""
  if not isinstance(values, dict):
    raise ValueError(f"{path}: got {values!r}, expected a group of keys.")
  fields = {f.name: f.type for f in dataclasses.fields(kind)}
  for key in values:
    if key not in fields:
      near = difflib.get_close_matches(key, fields, n=1)
      hint = f"; did you mean {path}.{near[0]}?" if near else ""
      raise ValueError(
        f"{path}.{key}: unknown key, expected one of {sorted(fields)}{hint}"
      )
  if missing := sorted(set(fields) - set(values)):
    raise ValueError(
      f"{path}: keys {missing} are missing; start from configs/base.py (or"
      " configs/features.py), which has them all."
    )
  built = {}
  for key, wanted in fields.items():
    if dataclasses.is_dataclass(wanted):
      built[key] = _build(wanted, values[key], f"{path}.{key}")
    else:
      built[key] = _typed(values[key], wanted, f"{path}.{key}")
  return kind(**built)


def _typed(value: Any, wanted: Any, path: str) -> Any:
  """Refuses a value of the wrong type; an int may stand for a float."""
  if wanted is float and type(value) is int:
    return float(value)
  origin = getattr(wanted, "__origin__", wanted)
  if type(value) is not origin:
    raise ValueError(
      f"{path}: got {value!r} of type {type(value).__name__}, expected"
      f" {getattr(wanted, '__name__', wanted)}."
    )
  return value
