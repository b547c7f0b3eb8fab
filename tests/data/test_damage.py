"""Damaged records: replaced, counted, capped, over all starts of a run."""

import dataclasses
import json
import logging as python_logging

import numpy as np
import pytest

from tests.data import pipelines
from unialign_jax.data import damage
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import schema


@pytest.mark.parametrize("hosts", [1, 3])
def test_damaged_records_are_replaced_by_the_next_good_one(
  small_set, make, caplog, hosts
):
  pipelines.damage_records(small_set, [2, 3, 8])
  parts = [
    make(
      (str(small_set), 1.0),
      host=(h, hosts),
      batch_size=9,
      max_damaged_records=3,
    )
    for h in range(hosts)
  ]
  with caplog.at_level(python_logging.ERROR, logger="absl"):
    for _ in range(3):
      epoch = pipelines.joined([next(part) for part in parts])
      assert sorted(epoch["record_id"]) == [0, 0, 1, 4, 4, 4, 5, 6, 7]
      expected = epoch["record_id"] / 2
      np.testing.assert_array_equal(epoch["latents_mean"][:, 0, 0, 0], expected)
  if hosts == 1:
    assert parts[0].num_damaged == 3
    messages = [r.getMessage() for r in caplog.records]
    assert len([m for m in messages if "damaged record" in m]) == 3
    assert any(
      f"damaged record 8 of feature set {small_set}" in m for m in messages
    )


def test_too_many_damaged_records_stop_the_run(small_set, make):
  pipelines.damage_records(small_set, [2, 3, 8])
  batches = make((str(small_set), 1.0), batch_size=9, max_damaged_records=2)
  with pytest.raises(damage.DamagedRecordsError, match=r"got 3 .* at most 2"):
    next(batches)


def test_the_next_start_counts_on(small_set, make, tmp_path):
  path = tmp_path / "damaged.jsonl"

  def start(cap):
    batches = make((str(small_set), 1.0), batch_size=9, max_damaged_records=cap)
    batches.keep_damage(path)
    return batches

  pipelines.damage_records(small_set, [2, 3])
  next(start(cap=3))
  for _ in range(2):  # each record once, whichever start meets it
    batches = start(cap=3)
    assert batches.num_damaged == 2
    next(batches)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((x["folder"], x["index"]) for x in lines) == [
      (str(small_set), 2),
      (str(small_set), 3),
    ]
    assert all("expected" in x["reason"] for x in lines)
  pipelines.damage_records(small_set, [5, 7])
  with pytest.raises(damage.DamagedRecordsError, match=r"got 4 .* at most 3"):
    pipelines.take(start(cap=3), 2)
  # Not even one more batch, until something was done.
  with pytest.raises(
    damage.DamagedRecordsError, match=r"got 4 .*earlier.*delete .*damaged\.json"
  ):
    start(cap=3)
  assert start(cap=4).num_damaged == 4
  path.unlink()
  assert start(cap=3).num_damaged == 0


def test_a_line_of_damage_that_cannot_be_read_is_left_out(tmp_path, caplog):
  path = tmp_path / "damaged.jsonl"
  path.write_bytes(b'{"folder": "a", "index": 1}\n\xff\n{"folder": "a"}\n')
  counter = damage.DamageCounter(cap=1)
  counter.keep(path)
  assert counter.count == 1
  for number in (2, 3):
    assert f"{path}, line {number} is left out" in caplog.text


def test_a_set_of_damaged_records_only_stops_the_run(small_set, make):
  pipelines.damage_records(small_set, range(9))
  batches = make((str(small_set), 1.0), batch_size=3, max_damaged_records=99)
  with pytest.raises(damage.DamagedRecordsError, match="expected a good one"):
    next(batches)


def test_a_record_of_another_shape_is_damaged(small_set, make):
  layout = manifest_lib.load(small_set).layout
  narrow = dataclasses.replace(layout, semantic_dim=4)
  manifest = dataclasses.replace(manifest_lib.load(small_set), layout=narrow)
  path = small_set / manifest_lib.FILENAME
  path.write_bytes(manifest_lib.dumps(manifest))
  expectations = dataclasses.replace(pipelines.EXPECTATIONS, semantic_dim=4)
  batches = make((str(small_set), 1.0), expectations=expectations)
  with pytest.raises(damage.DamagedRecordsError, match="h_image"):
    next(batches)


def test_bytes_that_are_no_record_are_damaged(small_set, make, monkeypatch):
  batches = make((str(small_set), 1.0), batch_size=9, max_damaged_records=1)
  whole = schema.deserialize

  def fails_once(data):
    record = whole(data)
    if record.key == "sample-5":
      raise schema.RecordError("payload", "noise", "a record")
    return record

  monkeypatch.setattr(schema, "deserialize", fails_once)
  assert sorted(next(batches)["record_id"]) == [0, 1, 2, 3, 4, 6, 6, 7, 8]
