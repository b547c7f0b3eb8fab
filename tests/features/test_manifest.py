"""A feature set that does not fit, or is no set at all, is refused by name."""

import dataclasses
import json

import pytest

from unialign_jax.features import manifest as manifest_lib

LAYOUT = manifest_lib.Layout(
  task="edit",
  num_cond=1,
  latent_shape=(8, 8, 16),
  latent_scaling=(0.1, 0.5),
  text_length=32,
  vocab_size=400,
  mask_id=399,
  text_dim=96,
  semantic_dim=64,
  semantic_tokens=0,
  draws=2,
  feature_dtype="int8",
  text_encoder="t",
  image_encoder="v",
  semantic_encoder="s",
  shard_size=10,
  seed=0,
  source="anyedit",
  framing="crop 512",
  captions="",
  items=20,
)
SHARD = manifest_lib.Shard(
  name="shard-00000.arrayrecord",
  records=9,
  bytes=131072,
  sha256="ab",
  skipped=1,
  truncated_prompts=0,
  truncated_captions=2,
)
MANIFEST = manifest_lib.Manifest(
  schema_version=1,
  layout=LAYOUT,
  null_prompt_sha256="cd",
  shards=(SHARD, SHARD),
  rejected={"null image": 2},
)
FITTING = manifest_lib.Expectations(
  latent_shape=(8, 8, 16),
  text_length=32,
  vocab_size=400,
  mask_id=399,
  text_dim=96,
  semantic_dim=64,
  semantic_tokens=0,
  max_cond=4,
  text_features="stored",
  text_encoder="t",
)


def write(folder, text: str) -> None:
  (folder / manifest_lib.FILENAME).write_text(text)


def test_round_trip(tmp_path):
  write(tmp_path, manifest_lib.dumps(MANIFEST).decode())
  assert manifest_lib.load(tmp_path) == MANIFEST
  assert MANIFEST.num_records == 18


def test_no_manifest(tmp_path):
  with pytest.raises(
    manifest_lib.ManifestError, match=r"got no manifest\.json"
  ):
    manifest_lib.load(tmp_path)


def test_another_schema_version(tmp_path):
  text = manifest_lib.dumps(MANIFEST).decode()
  write(tmp_path, text.replace('"schema_version": 1', '"schema_version": 2'))
  with pytest.raises(manifest_lib.ManifestError, match="schema_version 2"):
    manifest_lib.load(tmp_path)


@pytest.mark.parametrize(
  "damage",
  [
    lambda text: text[:-9],
    lambda text: "[]",
    lambda text: text.replace('"text_length": 32', '"text_length": "32"'),
    lambda text: text.replace('"text_length": 32,', ""),
    lambda text: text.replace('"text_length"', '"text_size"'),
    lambda text: json.dumps(json.loads(text) | {"shards": 3}),
    lambda text: json.dumps(json.loads(text) | {"rejected": 3}),
    lambda text: json.dumps(json.loads(text) | {"rejected": {"a": "b"}}),
    lambda text: json.dumps(json.loads(text) | {"shards": [3]}),
    lambda text: json.dumps(json.loads(text) | {"more": 3}),
  ],
)
def test_a_damaged_manifest_is_refused(tmp_path, damage):
  write(tmp_path, damage(manifest_lib.dumps(MANIFEST).decode()))
  with pytest.raises(manifest_lib.ManifestError):
    manifest_lib.load(tmp_path)


def test_a_fitting_set_is_taken():
  manifest_lib.check(MANIFEST, FITTING, "set")


@pytest.mark.parametrize(
  ("name", "expected", "key"),
  [
    ("latent_shape", (64, 64, 16), "data.resolution"),
    ("text_length", 256, "data.text_length"),
    ("vocab_size", 32100, "model.vocab_size"),
    ("mask_id", 32099, "data.mask_id"),
    ("text_dim", 4096, "model.text_dim"),
    ("semantic_dim", 3584, "model.semantic_dim"),
    ("semantic_tokens", 4, "loss.intrinsic_image"),
    ("text_encoder", "other", "encoders.text"),
    ("image_encoder", "other", "encoders.image"),
    ("semantic_encoder", "other", "encoders.semantic"),
  ],
)
def test_each_misfit_is_named_with_its_remedy(name, expected, key):
  expectations = dataclasses.replace(FITTING, **{name: expected})
  with pytest.raises(manifest_lib.ManifestError) as e:
    manifest_lib.check(MANIFEST, expectations, "some/set")
  line = f"{name}: got {getattr(LAYOUT, name)}, expected {expected} ({key})"
  assert line in str(e.value)
  assert "some/set" in str(e.value)


def test_all_misfits_come_in_one_message():
  expectations = dataclasses.replace(FITTING, mask_id=1, text_dim=2)
  with pytest.raises(
    manifest_lib.ManifestError, match=r"(?s)mask_id.*text_dim"
  ):
    manifest_lib.check(MANIFEST, expectations, "set")


def test_too_many_condition_images():
  expectations = dataclasses.replace(FITTING, max_cond=0)
  with pytest.raises(manifest_lib.ManifestError, match="num_cond: got 1"):
    manifest_lib.check(MANIFEST, expectations, "set")


def test_stored_mode_needs_draws_and_online_does_not():
  layout = dataclasses.replace(LAYOUT, draws=0)
  manifest = dataclasses.replace(MANIFEST, layout=layout)
  with pytest.raises(manifest_lib.ManifestError, match='features="online"'):
    manifest_lib.check(manifest, FITTING, "set")
  online = dataclasses.replace(FITTING, text_features="online")
  manifest_lib.check(manifest, online, "set")


def test_an_empty_set_is_refused():
  empty = dataclasses.replace(MANIFEST, shards=())
  with pytest.raises(manifest_lib.ManifestError, match="records: got 0"):
    manifest_lib.check(empty, FITTING, "set")


def test_unknown_text_mode():
  with pytest.raises(ValueError, match="text_features: got 'strored'"):
    dataclasses.replace(FITTING, text_features="strored")
