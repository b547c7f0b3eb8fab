"""Every key around the train step counts; tests/test_config.py has the rest.

A key is flipped alone, and what the run does with it is compared: batches,
placement, files, traced programs, or the refusal of what does not fit.
Nothing as large as a train step is compiled.
"""

import dataclasses
import functools
import json
import pathlib
import re
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import ml_collections
import numpy as np
import pytest
import safetensors.numpy

from tests import test_config as step_keys
from tests.data import pipelines
from tests.training import flips as flips_lib
from tests.training import observers
from unialign_jax import config as config_lib
from unialign_jax.data import damage
from unialign_jax.features import encoders
from unialign_jax.shapes import weights


def _name(group: str, key: str) -> str:
  return f"{group}.{key}" if group else key


def _alter_weights(path: pathlib.Path) -> None:
  tensors = safetensors.numpy.load_file(path)
  larger = {name: x * x.dtype.type(1.5) for name, x in tensors.items()}
  safetensors.numpy.save_file(larger, path)


def _alter_words(path: pathlib.Path) -> None:
  """Upper case for lower: the same ids, other texts."""
  tokenizer = json.loads(path.read_text())
  for piece in tokenizer["model"]["vocab"]:
    if piece[0].startswith("▁"):
      piece[0] = piece[0].swapcase()
  path.write_text(json.dumps(tokenizer))


@pytest.fixture(scope="module")
def root(
  features: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  """The records, one of them damaged, and encoders unlike the shipped ones."""
  root = tmp_path_factory.mktemp("root")
  for split in ("train", "validation"):
    shutil.copytree(features / split, root / split)
  pipelines.damage_records(root / "train/text_to_image", [3])
  for folder in (weights.TEXT_ENCODER, weights.TOKENIZER, weights.VAE):
    shutil.copytree(folder, root / folder.name)
  _alter_weights(root / "text_encoder_3/model.safetensors")
  _alter_weights(root / "vae/diffusion_pytorch_model.safetensors")
  _alter_words(root / "tokenizer_3/tokenizer.json")
  row = {"row": np.ones(96, np.float32)}
  safetensors.numpy.save_file(row, root / "row.safetensors")
  return root


@pytest.fixture
def unflipped(
  tiny: ml_collections.ConfigDict, root: pathlib.Path
) -> ml_collections.ConfigDict:
  """A run in which every key has something to do."""
  tiny.data.root = str(root)
  tiny.data.sources = (("train/text_to_image", 0.5), ("train/edit", 0.5))
  tiny.data.batch_size = 16  # so that two micro-batches fit eight devices
  tiny.train.update(sample_every=6, spike_window=16, on_spike="rewind")
  tiny.train.update(steps=9, keep_checkpoints=2)  # of the three it saves
  return tiny


@pytest.fixture(scope="module", autouse=True)
def load_once() -> Iterator[None]:
  """Loads an encoder of a folder once, so that it compiles once."""
  with pytest.MonkeyPatch.context() as patch:
    for kind in (encoders.TextEncoder, encoders.ImageEncoder):
      patch.setattr(kind, "load", functools.cache(kind.load))
    yield


@pytest.fixture(scope="module")
def observe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
  """(observer, config) -> what it sees, in a fresh workdir."""

  def see(
    observer: observers.Observer, values: ml_collections.ConfigDict
  ) -> Any:
    # A value out of range says nothing about who reads the key.
    config = config_lib.from_dict(values)
    try:
      return observer(config, tmp_path_factory.mktemp("workdir"))
    except (ValueError, damage.DamagedRecordsError) as error:
      return f"refused: {error}"

  return see


@pytest.fixture(scope="module")
def defaults() -> dict[observers.Observer, Any]:
  """What each observer sees of the unflipped config, once it was asked."""
  return {}


def test_flips_cover_every_key_around_the_step(
  unflipped: ml_collections.ConfigDict,
) -> None:
  config = config_lib.from_dict(unflipped)
  keys = {"": set()}
  for field in dataclasses.fields(config):
    if dataclasses.is_dataclass(field.type):
      keys[field.name] = {f.name for f in dataclasses.fields(field.type)}
    else:
      keys[""].add(field.name)
  for group in step_keys.FLIPS:
    del keys[group]
  assert {group: set(flips) for group, flips in flips_lib.FLIPS.items()} == keys


@pytest.mark.parametrize(
  "observer",
  [
    observers.read,
    observers.place,
    observers.leave,
    observers.stumble,
    observers.watch,
    observers.show,
    observers.init,
    observers.step,
  ],
)
def test_same_config_is_seen_the_same(
  observer: observers.Observer,
  unflipped: ml_collections.ConfigDict,
  observe: Callable[..., Any],
  defaults: dict[observers.Observer, Any],
) -> None:
  defaults[observer] = observe(observer, unflipped)
  assert "refused" not in defaults[observer]
  assert observe(observer, unflipped) == defaults[observer]


@pytest.mark.parametrize(
  ("group", "key", "observer"),
  [
    (group, key, observer)
    for group, flips in flips_lib.FLIPS.items()
    for key in flips
    for observer in observers.OBSERVERS.get(_name(group, key))
    or observers.OBSERVERS[group]
  ],
)
def test_every_key_around_the_step_changes_the_run(
  group: str,
  key: str,
  observer: observers.Observer,
  unflipped: ml_collections.ConfigDict,
  root: pathlib.Path,
  observe: Callable[..., Any],
  defaults: dict[observers.Observer, Any],
) -> None:
  if observer not in defaults:
    defaults[observer] = observe(observer, unflipped)
  value = flips_lib.FLIPS[group][key]
  value = value(root) if callable(value) else value
  keys = unflipped[group] if group else unflipped
  assert keys[key] != value
  keys[key] = value
  changed = observe(observer, unflipped) != defaults[observer]
  assert changed, f"config.{_name(group, key)} changes nothing"


@pytest.mark.parametrize("kind", ["text", "image"])
def test_features_of_other_weights_are_refused(
  kind: str,
  unflipped: ml_collections.ConfigDict,
  root: pathlib.Path,
  observe: Callable[..., Any],
) -> None:
  """The same architecture, trained to other weights."""
  unflipped.encoders[kind] = flips_lib.FLIPS["encoders"][kind](root)
  seen = observe(observers.read, unflipped)
  assert re.search(rf"refused: .*\n +{kind}_encoder: got \w+, expected", seen)
