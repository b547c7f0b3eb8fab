"""Rates and memory of precompute, and of the pipeline that feeds training.

  python -m unialign_jax.bench data [--source=NAME --root=DATA] \\
    [--option=key=value ...] [--config=features.py] [--training=base.py] \\
    [--num_threads=T ...] [--items=N] [--batches=K] [--scratch=DIR] \\
    [--json=FILE]

Without --source, pictures of photographic size are made on the spot; without
--config, the small encoders that come with the package encode them. Each stage
runs twice, in fresh processes: for one window and for ten. Rates are of the
ten windows without the first; memory that grows with the data shows in the
ratio of the two peaks. The feature sets lie in --scratch meanwhile.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from unialign_jax import command_line
from unialign_jax import config as config_lib
from unialign_jax.bench import fresh
from unialign_jax.bench import machine
from unialign_jax.bench import photographs
from unialign_jax.bench import report
from unialign_jax.bench import stages
from unialign_jax.data import pipeline
from unialign_jax.features import job
from unialign_jax.features import settings

WINDOWS = 10  # of the longer run
_LEAST_ITEMS = 256  # a window, where the flag leaves it open
_READING = ("batch_size", "num_threads", "prefetch_batches")
_SMALL = pathlib.Path(__file__).parent / "small_features.py"


def define_flags() -> None:
  config_flags.DEFINE_config_file(
    "config",
    str(config_lib.find_file(str(_SMALL))),
    "Config of precompute, as configs/features.py.",
  )
  flags.DEFINE_string(
    "training", "base.py", "Config of training: how the pipeline reads ..."
  )
  for name in _READING:
    flags.DEFINE_integer(name, None, f"... but for data.{name}.")
  flags.DEFINE_string("source", None, "Format of the data set.")
  flags.DEFINE_string("root", None, "Folder of the data set, or gs://.")
  flags.DEFINE_multi_string(
    "option", [], "key=value for the format; may be repeated."
  )
  flags.DEFINE_string("captions", "", "Captions that the data set lacks.")
  flags.DEFINE_integer(
    "pictures", 64, "Pictures that are made without --source.", lower_bound=1
  )
  flags.DEFINE_integer(
    "items", None, "Items a window; by the read-ahead if left open."
  )
  flags.DEFINE_integer("batches", 32, "Batches a window.", lower_bound=1)
  flags.DEFINE_string("scratch", None, "Local folder to write in; else /tmp.")
  flags.DEFINE_string("json", None, "Local file for the numbers.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """What is measured.

  Attributes:
    features: Of precompute.
    reading: Of the pipeline; its sources are not used.
    items: A window of precompute.
    batches: A window of the pipeline.
  """

  features: settings.FeaturesConfig
  reading: pipeline.DataConfig
  items: int
  batches: int

  def __post_init__(self) -> None:
    if self.items < (least := read_ahead(self.features)):
      raise ValueError(
        f"--items: got {self.items}, expected >= {least}, what the decode"
        " processes read ahead (2 x config.writer.processes x"
        " config.writer.chunk): a shorter run would not fill it, and would"
        " need less memory for that reason"
      )


def read_ahead(config: settings.FeaturesConfig) -> int:
  """Decoded items that may wait."""
  return max(1, 2 * config.writer.processes * config.writer.chunk)


def main(argv: Sequence[str]) -> None:
  del argv  # no more than flags
  values = flags.FLAGS
  setting = _setting()
  settings.check_folders(setting.features.encoders)
  if values.json and not pathlib.Path(values.json).parent.is_dir():
    raise ValueError(f"--json: got {values.json}, expected an existing folder")
  data = _data()
  with tempfile.TemporaryDirectory(
    prefix="unialign-bench-", dir=_scratch()
  ) as folder:
    description = f"{values.source} in {values.root}"
    if data is None:
      data, description = _photographs(pathlib.Path(folder) / "pictures")
    opened = data.open(setting.features.pictures)
    description += f", {len(opened)} items"
    _tell("starting JAX")
    result = _header(description, setting)
    measured = measure(data, setting, folder)
  result["load_after"] = machine.load()
  _print(result, measured)
  if values.json:
    result["stages"] = report.tree(measured)
    pathlib.Path(values.json).write_text(json.dumps(result, indent=2) + "\n")


def measure(
  data: job.Data, setting: Setting, folder: str
) -> list[report.Stage]:
  """Runs every stage at both sizes.

  Args:
    data: What is read.
    setting: How.
    folder: An empty folder for the feature sets.

  Raises:
    ValueError: something does not fit.
  """

  def out(name: str, windows: int) -> str:
    return os.path.join(folder, f"{name}-{windows}")

  items, batches = setting.items, setting.batches
  source = (data, setting.features)
  written = out("precompute", WINDOWS)

  def decode(windows: int) -> fresh.Outcome:
    return fresh.run(stages.decode, *source, items, windows)

  def encode(windows: int) -> fresh.Outcome:
    folder = out("encode", windows)
    return fresh.run(stages.encode, *source, folder, items, windows)

  def precompute(windows: int) -> fresh.Outcome:
    folder = out("precompute", windows)
    return fresh.run(stages.precompute, *source, folder, items, windows)

  def read(windows: int) -> fresh.Outcome:
    args = (written, setting.reading, batches, windows)
    return fresh.run(stages.pipeline, *args)

  return [
    _stage("decode", items, decode),
    _stage("encode", items, encode),
    _stage("precompute", items, precompute),
    _stage("pipeline", batches, read),
  ]


def _stage(
  name: str, size: int, run: Callable[[int], fresh.Outcome]
) -> report.Stage:
  """A stage at both sizes; `run` is given the number of windows."""
  runs = []
  for windows in (1, WINDOWS):
    _tell(f"{name}: {windows} x {size}")
    runs.append(run(windows))
  return report.Stage(
    name=name,
    unit="batches" if name == "pipeline" else "images",
    sizes=(size, size * WINDOWS),
    runs=tuple(runs),
  )


def _setting() -> Setting:
  values = flags.FLAGS
  features = settings.from_dict(values.config)
  training = config_lib.load_file(values.training)
  fields = [f.name for f in dataclasses.fields(pipeline.DataConfig)]
  reading = {name: training.data[name] for name in fields}
  reading |= {n: values[n].value for n in _READING if values[n].value}
  return Setting(
    features=features,
    reading=pipeline.DataConfig(**reading),
    items=values.items or max(_LEAST_ITEMS, read_ahead(features)),
    batches=values.batches,
  )


def _data() -> job.Data | None:
  """What the flags name, or None."""
  values = flags.FLAGS
  if bool(values.source) != bool(values.root):
    raise ValueError(
      f"--source, --root: got {values.source!r}, {values.root!r}, expected"
      " both, or neither to have pictures made"
    )
  if not values.source:
    for name in ("option", "captions"):
      if values[name].value:
        raise ValueError(f"--{name}: got one without --source")
    return None
  return job.Data(
    source=values.source,
    root=values.root,
    options=command_line.options(values.option),
    captions=values.captions,
  )


def _scratch() -> str | None:
  folder = flags.FLAGS.scratch
  if folder and not pathlib.Path(folder).is_dir():
    raise ValueError(f"--scratch: got {folder}, expected an existing folder")
  return folder


def _photographs(folder: pathlib.Path) -> tuple[job.Data, str]:
  count = flags.FLAGS.pictures
  _tell(f"making {count} pictures")
  photographs.write(folder, count)
  size = sum(path.stat().st_size for path in folder.glob("*.jpg")) / count
  return job.Data(source="folder", root=folder), (
    f"folder, made for this run: JPEG {photographs.WIDTH} x"
    f" {photographs.HEIGHT}, {size / 1000:.0f} kB each"
  )


def _header(description: str, setting: Setting) -> dict[str, Any]:
  features = dataclasses.asdict(setting.features)
  features["writer"]["shard_size"] = setting.items  # a shard is a window
  return {
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "machine": fresh.run(machine.describe).value,
    "load_before": machine.load(),
    "source": description,
    "features": features,
    "pipeline": {key: getattr(setting.reading, key) for key in _READING},
  }


def _print(result: dict[str, Any], measured: list[report.Stage]) -> None:
  features = result["features"]
  groups = {
    "machine": result["machine"],
    **features,
    "pipeline": result["pipeline"],
  }
  print(f"date       {result['date']}")
  print(f"source     {result['source']}")
  print(f"load       {result['load_before']}, after {result['load_after']}")
  for name, group in groups.items():
    text = ", ".join(f"{k}={v}" for k, v in group.items() if v != "")
    print(f"{name:10} {text}")
  print(f"\n{report.table(measured)}")


def _tell(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
