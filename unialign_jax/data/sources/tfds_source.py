"""Any prepared tfds data set that has random access, without TensorFlow."""

import dataclasses
import os
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.data.sources import rejection
from unialign_jax.data.sources import tfds_features

NAME = "tfds"
LICENSE = "not stated"
PICKS = ("first", "seeded")
_INFO = "dataset_info.json"
# What a task needs besides the target picture.
_NEEDS = {
  "text_to_image": (),
  "edit": ("conditions_feature", "instruction_feature"),
  "perception": ("conditions_feature", "instruction_feature"),
  "personalise": ("conditions_feature", "instruction_feature"),
  "personalise_multi": ("conditions_feature", "instruction_feature"),
  "understanding": ("caption_feature", "question_feature"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Which features a sample is made of; see `open_source`."""

  split: str
  task: str
  image_feature: str
  caption_feature: str
  conditions_features: tuple[str, ...]
  instruction_feature: str
  question_feature: str
  references: int
  pick: str
  seed: int
  license: str


def open_source(
  root: str | os.PathLike = "",
  *,
  name: str = "",
  split: str = "train",
  task: str = "text_to_image",
  image_feature: str = "image",
  caption_feature: str = "",
  conditions_feature: str = "",
  instruction_feature: str = "",
  question_feature: str = "",
  references: int = 0,
  pick: str = "first",
  seed: int = 0,
  license: str = "",
) -> base.Source:
  """Opens a split of a data set that is prepared as ArrayRecord files.

  Features are named by their paths, e.g. "captions/text"; names of classes
  count as texts.

  Args:
    root: The data set's own folder (with dataset_info.json); or with `name`
      the folder of all data sets, "" for tfds's default.
    name: As `tfds.builder` takes it: "name", "name/config:1.0.0".
    split: As tfds takes it: "train", "train[:10%]".
    task: One of `data.sample.TASKS`.
    image_feature: The target picture.
    caption_feature: Its caption, or the answer; "": to be recaptioned.
    conditions_feature: The condition pictures: a feature, a sequence, or
      several of both separated by commas.
    instruction_feature: The instruction; a text-to-image sample without one
      gets its caption.
    question_feature: Of understanding samples.
    references: Number of condition pictures; 0: one a feature. Records with
      another number are rejected. Sequences need it.
    pick: Of a sequence of texts: "first", or "seeded" by the key.
    seed: Of "seeded".
    license: "": as the data set states.

  Raises:
    SourceError: not prepared, no random access, no such split or feature, or
      features that the task does not go with.
  """
  conditions = tuple(n.strip() for n in conditions_feature.split(",") if n)
  options = Options(
    split=split,
    task=task,
    image_feature=image_feature,
    caption_feature=caption_feature,
    conditions_features=conditions,
    instruction_feature=instruction_feature,
    question_feature=question_feature,
    references=references or len(conditions),
    pick=pick,
    seed=seed,
    license=license,
  )
  _check_task(options)
  folder = _folder(root, name)
  features = tfds.builder_from_directory(folder).info.features
  _check_features(features, options, references)
  return Tfds(folder, options)


class Tfds:
  """The records of a split in their order.

  Args:
    folder: The data set's own.
    options: Which features; see `open_source`.

  Raises:
    SourceError: no random access, or no such split.
  """

  def __init__(self, folder: str, options: Options):
    self._folder = folder
    self._options = options
    self._open()

  def _open(self) -> None:
    builder = tfds.builder_from_directory(self._folder)
    info = builder.info
    self._features = info.features
    self._name = f"{NAME}/{info.full_name}"
    stated = info.redistribution_info.license
    self._license = self._options.license or stated.strip() or LICENSE
    try:
      self._records = builder.as_data_source(
        split=self._options.split,
        decoders=tfds_features.decoders(info.features),
      )
    except NotImplementedError as e:
      raise base.SourceError(
        f"{NAME}: {self._folder} has no random access, expected ArrayRecord"
        f" files: tfds convert_format --dataset_version_dir={self._folder}"
        " --out_file_format=array_record --out_dir=..."
      ) from e
    except ValueError as e:
      raise base.SourceError(
        f"{NAME}: got split={self._options.split!r}, expected one of"
        f" {sorted(info.splits)}, or a slice: {e}"
      ) from e

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> base.Item:
    if not 0 <= index < len(self):
      raise IndexError(f"{self._name}: got record {index} of {len(self)}")
    key = f"{self._options.split}/{index:08d}"
    try:
      return self._raw(key, self._records[index])
    except rejection.Rejection as e:
      return base.Rejected(
        key=key, source=self._name, reason=e.reason, detail=e.detail
      )

  def _raw(self, key: str, record: dict[str, Any]) -> base.Raw:
    options = self._options
    (target,) = tfds_features.pictures(record, options.image_feature)
    conditions = [
      picture
      for path in options.conditions_features
      for picture in tfds_features.pictures(record, path)
    ]
    if len(conditions) != options.references:
      raise rejection.Rejection(
        "filtered: references",
        f"got {len(conditions)}, expected {options.references}",
      )
    caption = self._text(record, key, "caption")
    instruction = self._text(record, key, "instruction")
    return base.Raw(
      key=key,
      task=options.task,
      source=self._name,
      license=self._license,
      caption_source="dataset" if caption else "",
      target=target,
      conditions=tuple(conditions),
      instruction=instruction
      or (caption if options.task == "text_to_image" else ""),
      caption=caption,
      question=self._text(record, key, "question"),
    )

  def _text(self, record: dict[str, Any], key: str, what: str) -> str:
    """A text that the options name a feature for, else ""."""
    path = getattr(self._options, f"{what}_feature")
    if not path:
      return ""
    seeded = self._options.pick == "seeded"
    seed = f"{self._options.seed}\0{key}" if seeded else None
    text = tfds_features.text(record, path, self._features, seed)
    if not text:
      raise rejection.Rejection(f"empty {what}", path)
    return text

  def __getstate__(self) -> dict[str, Any]:
    return {"_folder": self._folder, "_options": self._options}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    self._open()


def _folder(root: str | os.PathLike, name: str) -> str:
  """The data set's own folder."""
  if not name:
    if not (epath.Path(root) / _INFO).exists():
      raise base.SourceError(
        f"{NAME}: got root={os.fspath(root)!r} without {_INFO}, expected a data"
        " set's own folder, e.g. .../coco_captions/2014/1.1.0; or set name="
      )
    return os.fspath(root)
  try:
    builder = tfds.builder(name, data_dir=os.fspath(root) or None)
  except (tfds.core.DatasetNotFoundError, ValueError) as e:
    raise base.SourceError(
      f"{NAME}: got name={name!r}, expected a data set of tfds or one under"
      f" {os.fspath(root)!r}: {e}"
    ) from e
  if not (epath.Path(builder.data_dir) / _INFO).exists():
    raise base.SourceError(
      f"{NAME}: {name} is not prepared in {builder.data_dir}; prepare it with"
      f" tfds build {name} --data_dir=... --file_format=array_record"
    )
  return os.fspath(builder.data_dir)


def _check_task(options: Options) -> None:
  if options.task not in sample_lib.TASKS:
    raise base.SourceError(
      f"{NAME}: got task={options.task!r}, expected one of {sample_lib.TASKS}"
    )
  if options.pick not in PICKS:
    raise base.SourceError(
      f"{NAME}: got pick={options.pick!r}, expected one of {PICKS}"
    )
  given = {
    "caption_feature": options.caption_feature,
    "conditions_feature": options.conditions_features,
    "instruction_feature": options.instruction_feature,
    "question_feature": options.question_feature,
  }
  missing = [name for name in _NEEDS[options.task] if not given[name]]
  if missing:
    raise base.SourceError(f"{NAME}: task={options.task!r} needs {missing}")
  superfluous = {
    "conditions_feature": ("text_to_image", "understanding"),
    "question_feature": [t for t in _NEEDS if t != "understanding"],
  }
  for name, tasks in superfluous.items():
    if given[name] and options.task in tasks:
      raise base.SourceError(
        f"{NAME}: task={options.task!r} does not go with {name}="
        f"{given[name]!r}; set another task"
      )


def _check_features(features: Any, options: Options, references: int) -> None:
  if tfds_features.check_picture(features, options.image_feature):
    raise base.SourceError(
      f"{NAME}: image_feature={options.image_feature!r} is a sequence, expected"
      " one picture a record"
    )
  for path in options.conditions_features:
    if tfds_features.check_picture(features, path) and not references:
      raise base.SourceError(
        f"{NAME}: {path!r} is a sequence, expected references= with its length"
      )
  if options.references > sample_lib.MAX_CONDITIONS:
    raise base.SourceError(
      f"{NAME}: got references={options.references}, expected at most"
      f" {sample_lib.MAX_CONDITIONS}"
    )
  for path in (
    options.caption_feature,
    options.instruction_feature,
    options.question_feature,
  ):
    if path:
      tfds_features.check_text(features, path)
