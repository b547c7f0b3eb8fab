"""Every fault of a set is found; a sound one has none."""

import dataclasses
import json

import grain
import numpy as np
import pytest

from tests.features import fakes
from tests.features import written
from unialign_jax.features import files
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import schema
from unialign_jax.features import shards
from unialign_jax.features import verify


@pytest.mark.parametrize("changes", [{}, {"draws": 0}, {"draws": 3}])
def test_a_sound_set(tmp_path, changes):
  written.write(tmp_path, **changes)
  report = verify.verify(tmp_path)
  assert report.faults == ()
  assert "6 records in 3 shards" in report.table
  assert "4  null image" in report.table
  assert len(report.table.splitlines()) == 7


def manifest_with(folder, change) -> None:
  path = folder / manifest_lib.FILENAME
  tree = json.loads(path.read_text())
  change(tree)
  path.write_text(json.dumps(tree))


def test_files_that_differ(tmp_path):
  written.write(tmp_path, items=[fakes.sample(i) for i in range(12)])
  first, second, third, fourth = sorted(tmp_path.glob("*.arrayrecord"))
  first.unlink()
  second.write_bytes(second.read_bytes()[:-1])
  data = bytearray(third.read_bytes())
  data[1000] ^= 1
  third.write_bytes(data)
  fourth.rename(tmp_path / "shard-00009.arrayrecord")
  faults = "\n".join(verify.verify(tmp_path).faults)
  assert "shard-00000.arrayrecord: got no file" in faults
  assert f"shard-00001.arrayrecord: got {second.stat().st_size} byt" in faults
  assert "shard-00002.arrayrecord: got sha256" in faults
  assert "shard-00003.arrayrecord: got no file" in faults
  assert "shard-00009.arrayrecord: got a shard that is not in" in faults


def test_rejects_and_null_prompt(tmp_path):
  written.write(tmp_path)
  null_prompt = tmp_path / manifest_lib.NULL_PROMPT_FILENAME
  for damage, fault in (
    (lambda: (tmp_path / "rejects.jsonl").unlink(), "rejects.jsonl: got no f"),
    (
      lambda: (tmp_path / "rejects.jsonl").write_text('{"reason": "x"}\n'),
      "rejects.jsonl: got {'x': 1}, expected {'null image': 4}",
    ),
    (
      lambda: (tmp_path / "rejects.jsonl").write_text("[]\n"),
      "rejects.jsonl: got a line",
    ),
    (
      lambda: null_prompt.write_bytes(null_prompt.read_bytes()[:-1]),
      "null_prompt.safetensors: got sha256",
    ),
    (null_prompt.unlink, "null_prompt.safetensors: got sha256 no file"),
  ):
    damage()
    assert fault in "\n".join(verify.verify(tmp_path).faults)


@pytest.mark.parametrize(
  ("field", "value", "fault"),
  [
    ("text_length", 9, "record 0: record field 'prompt_ids': got 8, expected"),
    ("semantic_dim", 4, "'h_image': got (5,), expected (4,)"),
    ("semantic_tokens", 3, "'h_image': got (5,), expected (3, 5)"),
    ("num_cond", 1, "'cond_latents': got 0, expected 1"),
    ("latent_shape", [2, 2, 4], "'latents_mean'"),
    ("draws", 1, "'masked_t': got 2, expected 1"),
    ("text_dim", 3, "'prompt_features': got 4, expected 3"),
    ("feature_dtype", "float16", "'prompt_features': got int8, expected float"),
    ("task", "edit", "'task': got text_to_image, expected edit"),
    ("vocab_size", 12, r"'prompt_ids': got ids 1 to 14, expected 0 to 11"),
    ("text_dim", 3, "null_prompt.safetensors features: got shape (8, 4)"),
    ("text_length", 9, "null_prompt.safetensors ids: got shape (8,)"),
  ],
)
def test_records_that_do_not_fit_the_manifest(tmp_path, field, value, fault):
  written.write(tmp_path)
  manifest_with(tmp_path, lambda tree: tree["layout"].update({field: value}))
  assert fault in "\n".join(verify.verify(tmp_path).faults)


def test_fewer_records_than_the_manifest_says(tmp_path):
  written.write(tmp_path)
  manifest_with(tmp_path, lambda tree: tree["shards"][0].update(records=3))
  assert verify.verify(tmp_path).faults == (
    "shard-00000.arrayrecord: got 2 records, expected 3",
  )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["latents_std", "h_text", "prompt_scale"])
def test_values_that_are_not_finite(tmp_path, field, value):
  manifest = written.write(tmp_path)
  record = _records(tmp_path)[0]
  damaged = np.array(getattr(record, field))
  damaged.flat[-1] = value
  record = dataclasses.replace(record, **{field: damaged})
  with pytest.raises(schema.RecordError, match=f"{field}.*not finite"):
    verify.check_record(record, manifest.layout)


def _records(folder) -> list[schema.Record]:
  paths = shards.checked_paths(folder, manifest_lib.load(folder))
  source = grain.sources.ArrayRecordDataSource(paths)
  return [schema.deserialize(source[i]) for i in range(len(source))]


def test_a_record_with_flipped_bits(tmp_path):
  """The checksum is the damaged file's: only the record itself can tell."""
  written.write(tmp_path)
  path = tmp_path / "shard-00000.arrayrecord"
  data = bytearray(path.read_bytes())
  place = data.index(b"fakes")
  data[place] ^= 1
  path.write_bytes(data)
  manifest_with(
    tmp_path,
    lambda tree: tree["shards"][0].update(sha256=files.sha256(path)),
  )
  (fault,) = verify.verify(tmp_path).faults
  assert "shard-00000" in fault


def test_no_set(tmp_path):
  with pytest.raises(manifest_lib.ManifestError, match=r"no manifest\.json"):
    verify.verify(tmp_path)
