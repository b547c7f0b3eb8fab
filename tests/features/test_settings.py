"""configs/features.py: every key documented, checked and used."""

import pathlib
import re

import ml_collections
import numpy as np
import pytest

from unialign_jax import config as config_lib
from unialign_jax.data import sample as sample_lib
from unialign_jax.features import qwen
from unialign_jax.features import settings
from unialign_jax.shapes import weights

CONFIGS = pathlib.Path(config_lib.__file__).parents[1] / "configs"


def shipped(**groups: dict) -> ml_collections.ConfigDict:
  """The shipped config with the small encoders that come with the package."""
  values = config_lib.load_file("features.py")
  values.encoders.update(
    text=str(weights.TEXT_ENCODER),
    tokenizer=str(weights.TOKENIZER),
    text_dtype="float32",
    image=str(weights.VAE),
    semantic="pooled",
    pooled_dim=16,
  )
  values.pictures.resolution = 64
  values.writer.text_length = 24
  for group, keys in groups.items():
    values[group].update(keys)
  return values


def test_tiny_writes_what_the_tiny_stages_train_on() -> None:
  config = settings.from_dict(config_lib.load_file("features.py:tiny"))
  stage = config_lib.from_dict(config_lib.load_file("stage2.py:tiny"))
  assert config.encoders.text == stage.encoders.text
  assert config.encoders.image == stage.encoders.image
  assert config.encoders.pooled_dim == stage.model.semantic_dim
  assert config.pictures.resolution == stage.data.resolution
  assert config.writer.text_length == stage.data.text_length


def test_every_key_is_documented() -> None:
  lines = (CONFIGS / "features.py").read_text().splitlines()
  keys = [s for s in lines if re.match(r"  [\w.]+\.\w+ = (?!ml_coll)", s)]
  assert len(keys) > 20
  for line in keys:
    if " = config." not in line:
      assert re.search(r"  # \S", line), f"no comment: {line}"


def test_the_shipped_config_is_valid_and_agrees_with_training() -> None:
  config = settings.from_dict(config_lib.load_file("features.py"))
  training = config_lib.load_file("base.py")
  assert config.writer.text_length == training.data.text_length
  assert config.pictures.resolution == training.data.resolution
  assert config.encoders.pooled_dim == training.model.semantic_dim


@pytest.mark.parametrize(
  ("group", "key", "value", "message"),
  [
    ("writer", "shard_sice", 3, r"config\.writer\.shard_sice: unk.*shard_size"),
    ("writer", "shard_size", "3", r"config\.writer\.shard_size: got '3' of"),
    ("writer", "shard_size", 0, r"shard_size: got 0, expected >= 1"),
    ("writer", "processes", -1, "processes: got -1"),
    ("writer", "max_rejected_fraction", -0.1, "max_rejected_fraction: got -0"),
    ("writer", "feature_dtype", "int4", "'int4'"),
    ("pictures", "policy", "zoom", r"config\.pictures\.policy: got 'zoom'"),
    ("pictures", "resolution", 0, r"config\.pictures\.resolution: got 0"),
    ("encoders", "text_dtype", "fp16", r"config\.encoders\.text_dtype"),
    ("encoders", "semantic_grid", -1, r"config\.encoders\.semantic_grid"),
    ("encoders", "semantic", "clip", r"config\.encoders\.semantic: got 'clip'"),
    ("encoders", "pooled_dim", 0, r"config\.encoders\.pooled_dim: got 0"),
  ],
)
def test_a_mistake_is_one_message(group, key, value, message) -> None:
  values = config_lib.load_file("features.py").to_dict()
  values[group][key] = value
  with pytest.raises(ValueError, match=message):
    settings.from_dict(values)


@pytest.mark.parametrize("key", ["text", "tokenizer", "image", "semantic"])
@pytest.mark.parametrize("value", ["", "/no/such/folder"])
def test_a_missing_encoder_is_named(key, value) -> None:
  value = f"qwen:{value}" if key == "semantic" else value
  config = settings.from_dict(shipped(encoders={key: value}))
  with pytest.raises(ValueError, match=rf"config\.encoders\.{key}: "):
    settings.check_folders(config.encoders)


def test_the_small_encoders_are_loaded_as_configured() -> None:
  config = settings.from_dict(
    shipped(encoders={"image_dtype": "bfloat16"}, writer={"batch_size": 4})
  )
  settings.check_folders(config.encoders)
  nets = settings.load_encoders(config)
  assert nets.text.config.dtype == nets.text.config.param_dtype == np.float32
  assert nets.image.config.dtype.dtype.name == "bfloat16"
  assert nets.text.batch_size == nets.image.batch_size == 4
  sample = sample_lib.Sample(
    key="0",
    task="text_to_image",
    source="s",
    license="MIT",
    caption_source="dataset",
    target_image=np.zeros((64, 64, 3), np.uint8),
    instruction="a circle",
    caption="a circle",
  )
  h_image, h_text = nets.semantic([sample])
  assert h_image.shape == h_text.shape == (1, 16)


def test_qwen_gets_its_folder_and_precision(monkeypatch) -> None:
  asked = []
  monkeypatch.setattr(
    qwen.QwenFeatures,
    "load",
    lambda folder, **settings: asked.append((folder, settings)),
  )
  values = shipped(
    encoders={"semantic": "qwen:somewhere"}, writer={"batch_size": 4}
  )
  settings.load_encoders(settings.from_dict(values))
  ((folder, given),) = asked
  assert folder == "somewhere"
  assert given["batch_size"] == 4
  assert given["patches"] is None
  values.encoders.semantic_grid = 32
  settings.load_encoders(settings.from_dict(values))
  assert asked[1][1]["patches"] == (32, 32)
  assert np.dtype(given["dtype"]).name == "bfloat16"
