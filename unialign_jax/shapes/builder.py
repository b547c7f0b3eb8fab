"""The Shapes world as a tfds data set of ArrayRecord files.

One configuration is one task. Sample i of a split is a function of the seed,
the task, the split and i; which scenes a split may show is decided by the
scenes themselves (`scene.split`), so splits cannot meet.
"""

import dataclasses
import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from unialign_jax.data import sample as samples_lib
from unialign_jax.shapes import tasks

SPLITS = ("train", "validation", "test")
_FILE_FORMAT = "array_record"
_TEXT_FIELDS = tuple(
  field.name
  for field in dataclasses.fields(samples_lib.Sample)
  if field.type is str
)


@dataclasses.dataclass(eq=False, kw_only=True)
class ShapesConfig(tfds.core.BuilderConfig):
  """What one data set holds.

  Attributes:
    task: one of `sample.TASKS`; the name of the configuration by default.
    train, validation, test: number of samples in each split.
    seed: of everything random.
    world: which scenes, and how long texts may be.
  """

  name: str = ""
  task: str
  train: int = 10_000
  validation: int = 500
  test: int = 500
  seed: int = 0
  world: tasks.World = dataclasses.field(default_factory=tasks.World)

  def __post_init__(self) -> None:
    if self.task not in samples_lib.TASKS:
      raise ValueError(
        f"unknown task {self.task!r}, expected one of {samples_lib.TASKS}"
      )
    self.name = self.name or self.task


class ShapesWorld(tfds.core.GeneratorBasedBuilder):
  """Builder of `ShapesConfig`; prepares ArrayRecord without TensorFlow."""

  VERSION = tfds.core.Version("1.0.0")
  # tfds keeps the names of these to itself; "edit" stays free for `prepare`.
  BUILDER_CONFIGS = tuple(
    ShapesConfig(name=f"{task}_10k", task=task) for task in samples_lib.TASKS
  )

  def __init__(self, *, file_format: str = _FILE_FORMAT, **kwargs: Any):
    super().__init__(file_format=file_format, **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    size = self.builder_config.world.size
    image = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
    texts = {name: tfds.features.Text() for name in _TEXT_FIELDS}
    return tfds.core.DatasetInfo(
      builder=self,
      description=(__doc__ or "").strip(),
      features=tfds.features.FeaturesDict(
        texts
        | {
          "target_image": image,
          "cond_images": tfds.features.Sequence(image),
        }
      ),
      license=tasks.LICENSE,
      metadata=tfds.core.MetadataDict(_recipe(self.builder_config)),
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
    counts = _counts(self.builder_config)
    return {
      split: self._generate_examples(split, count)
      for split, count in counts.items()
      if count
    }

  def _generate_examples(
    self, split: str, count: int
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    for index in range(count):
      item = example(self.builder_config, split, index)
      fields = {name: getattr(item, name) for name in _TEXT_FIELDS}
      fields["target_image"] = _png(item.target_image)
      fields["cond_images"] = [_png(image) for image in item.cond_images]
      yield item.key, fields


def example(config: ShapesConfig, split: str, index: int) -> samples_lib.Sample:
  """Sample `index` of a split: the same for ever, whatever the counts."""
  if split not in SPLITS:
    raise ValueError(f"unknown split {split!r}, expected one of {SPLITS}")
  entropy = (
    config.seed,
    samples_lib.TASKS.index(config.task),
    SPLITS.index(split),
    index,
  )
  return tasks.make(
    config.task,
    np.random.default_rng(entropy),
    key=f"{config.task}/{split}/{index:08d}",
    split=split,
    world=config.world,
  )


def prepare(
  data_dir: str | os.PathLike[str], config: ShapesConfig
) -> ShapesWorld:
  """Writes a data set, or finds it written with the same recipe.

  Raises:
    ValueError: the folder holds this configuration made by another recipe.
  """
  builder = ShapesWorld(data_dir=data_dir, config=config)
  if builder.is_prepared():
    found = dict(_stored(builder.data_dir).info.metadata or {})
    wanted = _recipe(config)
    differing = [k for k in wanted if found.get(k) != wanted[k]]
    if differing:
      raise ValueError(
        f"{builder.data_dir} was made with other values of {differing}:"
        f" got {[found.get(k) for k in differing]}, expected"
        f" {[wanted[k] for k in differing]}; give the configuration another"
        " name or remove the folder"
      )
    return builder
  builder.download_and_prepare()
  return builder


def samples(
  data_dir: str | os.PathLike[str], split: str, task: str
) -> Iterator[samples_lib.Sample]:
  """All samples of a prepared split.

  Args:
    data_dir: as given to `prepare`.
    split: "train", "validation" or "test".
    task: task, or the name of the configuration if it has its own.
  """
  folder = os.path.join(
    os.fspath(data_dir), ShapesWorld.name, task, str(ShapesWorld.VERSION)
  )
  for record in _stored(folder).as_data_source(split=split):
    texts = {name: _text(record[name]) for name in _TEXT_FIELDS}
    yield samples_lib.Sample(
      target_image=np.asarray(record["target_image"]),
      cond_images=tuple(np.asarray(c) for c in record["cond_images"]),
      **texts,
    )


def _stored(folder: str | os.PathLike[str]) -> tfds.core.DatasetBuilder:
  """A reader that needs nothing but the files."""
  return tfds.builder_from_directory(folder)


def _png(image: np.ndarray) -> io.BytesIO:
  """A file in memory: tfds stores its bytes, and encodes arrays itself only
  where TensorFlow is installed."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, "PNG")
  file.seek(0)
  return file


def _text(value: bytes | str) -> str:
  return value.decode() if isinstance(value, bytes) else value


def _counts(config: ShapesConfig) -> dict[str, int]:
  return {split: getattr(config, split) for split in SPLITS}


def _recipe(config: ShapesConfig) -> dict[str, Any]:
  """Everything that decides the contents, in JSON types."""
  world = dataclasses.asdict(config.world)
  world["weights"] = list(world["weights"])
  recipe = {"task": config.task, "seed": config.seed, "world": world}
  return recipe | _counts(config)
