"""Batches: the same on any number of hosts, exactly once, damage contained."""

import dataclasses
import json
import logging as python_logging

import grain
import numpy as np
import pytest

from tests.features import fakes
from unialign_jax.data import damage
from unialign_jax.data import pipeline
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import schema
from unialign_jax.features import shards
from unialign_jax.features import writer

NUM_T2I, NUM_EDIT, DRAWS, LENGTH = 21, 10, 2, 8
EXPECTATIONS = manifest_lib.Expectations(
  latent_shape=fakes.LATENT_SHAPE,
  text_length=LENGTH,
  vocab_size=fakes.VOCAB_SIZE,
  mask_id=fakes.MASK_ID,
  text_dim=fakes.TEXT_DIM,
  semantic_dim=fakes.SEMANTIC_DIM,
  semantic_tokens=0,
  max_cond=1,
  text_features="stored",
  text_encoder="fake text",
)


def write(folder, samples, dtype="bfloat16", draws=DRAWS):
  config = writer.WriterConfig(
    text_length=LENGTH,
    draws=draws,
    shard_size=4,
    batch_size=4,
    feature_dtype=dtype,
  )
  return writer.write_features(samples, folder, fakes.nets(), config)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
  """A text-to-image set and an edit set."""
  root = tmp_path_factory.mktemp("sets")
  write(root / "t2i", [fakes.sample(i) for i in range(NUM_T2I)])
  write(root / "edit", [fakes.edit_sample(i) for i in range(NUM_EDIT)])
  return str(root / "t2i"), str(root / "edit")


@pytest.fixture
def make():
  """Makes pipelines and closes them after the test."""
  made = []

  def make_pipeline(
    *sources, host=(0, 1), expectations=EXPECTATIONS, **changes
  ):
    config = pipeline.DataConfig(
      **{
        "sources": sources,
        "batch_size": 8,
        "shuffle_seed": 0,
        "num_threads": 2,
        "prefetch_batches": 2,
        "max_damaged_records": 0,
      }
      | changes
    )
    made.append(
      pipeline.make_pipeline(
        config, expectations, host_index=host[0], hosts=host[1]
      )
    )
    return made[-1]

  yield make_pipeline
  for batches in made:
    batches.close()


def take(batches, count):
  return [next(batches) for _ in range(count)]


def joined(parts):
  """The hosts' parts of one batch laid end to end."""
  return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def assert_same_batch(got, expected):
  assert got.keys() == expected.keys()
  for name in expected:
    np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


def test_batch_fields(sets, make):
  t2i, edit = sets
  batch = next(make((edit, 1.0), batch_size=3))
  shapes = {name: (x.dtype.name, x.shape) for name, x in batch.items()}
  assert shapes == {
    "latents_mean": ("float16", (3, 2, 2, 3)),
    "latents_std": ("float16", (3, 2, 2, 3)),
    "cond_latents": ("float16", (3, 1, 2, 2, 3)),
    "prompt_ids": ("int32", (3, LENGTH)),
    "caption_ids": ("int32", (3, LENGTH)),
    "label_mask": ("bool", (3, LENGTH)),
    "h_image": ("float16", (3, fakes.SEMANTIC_DIM)),
    "h_text": ("float16", (3, fakes.SEMANTIC_DIM)),
    "prompt_features": ("bfloat16", (3, LENGTH, fakes.TEXT_DIM)),
    "masked_ids": ("int32", (3, LENGTH)),
    "is_masked": ("bool", (3, LENGTH)),
    "masked_t": ("float32", (3,)),
    "masked_features": ("bfloat16", (3, LENGTH, fakes.TEXT_DIM)),
    "record_id": ("int64", (3,)),
    "source_id": ("int32", (3,)),
  }
  assert "cond_latents" not in next(make((t2i, 1.0)))


def test_online_mode_leaves_stored_features_alone(sets, make):
  online = dataclasses.replace(EXPECTATIONS, text_features="online")
  batch = next(make((sets[0], 1.0), expectations=online))
  assert {"masked_t", "prompt_features"}.isdisjoint(batch)


def test_order_is_the_same_on_1_2_and_4_hosts(sets, make):
  sources = ((sets[0], 0.6), (sets[1], 0.4))
  alone = take(make(*sources), 12)
  for hosts in (2, 4):
    parts = [make(*sources, host=(h, hosts)) for h in range(hosts)]
    for expected in alone:
      batch = joined([next(part) for part in parts])
      assert_same_batch(batch, expected)
    states = [part.get_state() for part in parts]
    records = {sets[0]: NUM_T2I, sets[1]: NUM_EDIT}
    state = {"global_next_index": 12 * 8, "records": records}
    assert states == [state] * hosts


def test_a_state_continues_on_another_number_of_hosts(sets, make):
  sources = ((sets[0], 0.6), (sets[1], 0.4))
  alone = take(make(*sources), 9)
  four = [make(*sources, host=(h, 4)) for h in range(4)]
  for part in four:
    take(part, 3)
  two = [make(*sources, host=(h, 2)) for h in range(2)]
  for part in two:
    part.set_state(four[3].get_state())
  for expected in alone[3:6]:
    assert_same_batch(joined([next(part) for part in two]), expected)
  one = make(*sources)
  next(one)  # a pipeline that has begun can be set back and forth
  one.set_state(two[0].get_state())
  for expected in alone[6:]:
    assert_same_batch(next(one), expected)


def test_a_state_between_batches_is_refused(sets, make):
  batches = make((sets[0], 1.0))
  with pytest.raises(ValueError, match=r"got 12 examples.*batch_size=8"):
    batches.set_state({"global_next_index": 12})


def test_a_source_with_another_number_of_records_is_refused(sets, make):
  batches = make((sets[0], 0.5), (sets[1], 0.5))
  state = batches.get_state() | {"global_next_index": 8}
  state["records"] |= {sets[1]: NUM_EDIT + 1, "no longer read": 5}
  with pytest.raises(
    ValueError, match=rf"got {NUM_EDIT} records in .*edit.*11"
  ):
    batches.set_state(state)
  # As an earlier version has saved it.
  batches.set_state({"global_next_index": 8})
  assert batches.next_index == 1


def test_one_source_goes_on_with_another_batch_size(sets, make):
  eight, four = (make((sets[0], 1.0), batch_size=size) for size in (8, 4))
  ids = joined(take(eight, 5))["record_id"]
  four.set_state(take(eight, 1) and {"global_next_index": 3 * 8})
  np.testing.assert_array_equal(joined(take(four, 4))["record_id"], ids[24:])


def test_each_batch_has_one_task_known_from_the_step(sets, make):
  batches = make((sets[0], 0.75), (sets[1], 0.25))
  tasks = []
  for step, batch in enumerate(take(batches, 8)):
    layout = batches.layout_at(step)
    assert ("cond_latents" in batch) == (layout.num_cond == 1)
    source = batches.feature_sets[batch["source_id"][0]]
    assert (batch["source_id"] == batch["source_id"][0]).all()
    assert source.manifest.layout == layout
    tasks.append(layout.task)
  assert tasks.count("edit") == 2
  assert tasks[:4] == tasks[4:]


def test_every_record_once_an_epoch_with_the_next_draw(sets, make):
  batch_size = 7  # 3 batches an epoch
  batches = make((sets[0], 1.0), batch_size=batch_size)
  orders, times = [], []
  for _ in range(2 * DRAWS):
    epoch = joined(take(batches, NUM_T2I // batch_size))
    order = np.argsort(epoch["record_id"])
    assert epoch["record_id"][order].tolist() == list(range(NUM_T2I))
    # The picture tells the number of the sample.
    expected = epoch["record_id"] / 2
    np.testing.assert_array_equal(epoch["latents_mean"][:, 0, 0, 0], expected)
    orders.append(epoch["record_id"].tolist())
    times.append(epoch["masked_t"][order])
  assert len({tuple(order) for order in orders}) == len(orders)
  np.testing.assert_array_equal(times[0], times[DRAWS])
  np.testing.assert_array_equal(times[1], times[DRAWS + 1])
  # Two draws are antithetic: half a period apart.
  apart = np.abs(times[0] - times[1])
  np.testing.assert_allclose(apart, (1 - 1e-3) / 2, rtol=1e-4)


def test_seed_and_source_change_the_order(sets, make):
  def ids(seed, *sources):
    return take(make(*sources, shuffle_seed=seed), 2)[-1]["record_id"].tolist()

  one, twice = [(sets[0], 1.0)], [(sets[0], 0.5), (sets[0], 0.5)]
  assert ids(0, *one) == ids(0, *one)
  assert ids(0, *one) != ids(1, *one)
  first, second = take(make(*twice), 2)
  assert first["record_id"].tolist() != second["record_id"].tolist()


def test_int8_features_are_read_as_bfloat16(tmp_path, make):
  write(tmp_path, [fakes.sample(i) for i in range(4)], dtype="int8")
  batch = next(make((str(tmp_path), 1.0), batch_size=4))
  exact = fakes.FakeTextEncoder().encode(batch["masked_ids"])
  error = np.abs(batch["masked_features"].astype(np.float32) - exact)
  assert batch["masked_features"].dtype.name == "bfloat16"
  assert error.max() < 0.01 * np.abs(exact).max()


def test_a_set_smaller_than_a_batch_is_repeated(tmp_path, make):
  write(tmp_path, [fakes.sample(0)])
  batch = next(make((str(tmp_path), 1.0), batch_size=4))
  assert batch["record_id"].tolist() == [0] * 4
  assert len(set(batch["masked_t"].tolist())) == DRAWS


# Damage.


def damage_records(folder, indices):
  """Overwrites a byte of the payload of some records."""
  source = grain.sources.ArrayRecordDataSource(
    shards.checked_paths(folder, manifest_lib.load(folder))
  )
  wanted = {source[i] for i in indices}
  for path in folder.glob("*.arrayrecord"):
    data = bytearray(path.read_bytes())
    for record in wanted:
      if (at := data.find(record)) >= 0:
        data[at + len(record) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.fixture
def small_set(tmp_path):
  write(tmp_path, [fakes.sample(i) for i in range(9)])
  return tmp_path


@pytest.mark.parametrize("hosts", [1, 3])
def test_damaged_records_are_replaced_by_the_next_good_one(
  small_set, make, caplog, hosts
):
  damage_records(small_set, [2, 3, 8])
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
      epoch = joined([next(part) for part in parts])
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
  damage_records(small_set, [2, 3, 8])
  batches = make((str(small_set), 1.0), batch_size=9, max_damaged_records=2)
  with pytest.raises(damage.DamagedRecordsError, match=r"got 3 .* at most 2"):
    next(batches)


def test_the_next_start_counts_on(small_set, make, tmp_path):
  path = tmp_path / "damaged.jsonl"

  def start(cap):
    batches = make((str(small_set), 1.0), batch_size=9, max_damaged_records=cap)
    batches.keep_damage(path)
    return batches

  damage_records(small_set, [2, 3])
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
  damage_records(small_set, [5, 7])
  with pytest.raises(damage.DamagedRecordsError, match=r"got 4 .* at most 3"):
    take(start(cap=3), 2)
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
  damage_records(small_set, range(9))
  batches = make((str(small_set), 1.0), batch_size=3, max_damaged_records=99)
  with pytest.raises(damage.DamagedRecordsError, match="expected a good one"):
    next(batches)


def test_a_record_of_another_shape_is_damaged(small_set, make):
  layout = manifest_lib.load(small_set).layout
  narrow = dataclasses.replace(layout, semantic_dim=4)
  manifest = dataclasses.replace(manifest_lib.load(small_set), layout=narrow)
  path = small_set / manifest_lib.FILENAME
  path.write_bytes(manifest_lib.dumps(manifest))
  expectations = dataclasses.replace(EXPECTATIONS, semantic_dim=4)
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


@pytest.mark.parametrize(
  ("harm", "message"),
  [
    (lambda path: path.write_bytes(path.read_bytes()[:70000]), "got 70000, "),
    (lambda path: path.write_bytes(b""), "got 0, expected 131072 bytes"),
    (lambda path: path.unlink(), "got no file, expected 131072 bytes"),
    (
      lambda path: path.write_bytes(bytes(path.stat().st_size)),
      "got a file that does not open",
    ),
  ],
)
def test_a_broken_shard_is_refused_at_the_start(small_set, make, harm, message):
  harm(small_set / "shard-00001.arrayrecord")
  with pytest.raises(manifest_lib.ManifestError) as e:
    make((str(small_set), 1.0))
  assert "shard-00001.arrayrecord: " + message in str(e.value)


def test_an_exchanged_shard_is_refused_at_the_start(small_set, make):
  # 4, 4 and 1 records in files of one size.
  (small_set / "shard-00000.arrayrecord").write_bytes(
    (small_set / "shard-00002.arrayrecord").read_bytes()
  )
  with pytest.raises(manifest_lib.ManifestError, match="got 1, expected 4 rec"):
    make((str(small_set), 1.0))


def test_a_misfit_is_refused_at_the_start(sets, make):
  expectations = dataclasses.replace(EXPECTATIONS, latent_shape=(64, 64, 16))
  with pytest.raises(manifest_lib.ManifestError, match="latent_shape"):
    make((sets[0], 1.0), expectations=expectations)


def test_hosts_must_share_a_batch_equally(sets, make):
  with pytest.raises(ValueError, match=r"data\.batch_size: got 8.*3 hosts"):
    make((sets[0], 1.0), host=(0, 3))


@pytest.mark.parametrize(
  "name", ["batch_size", "num_threads", "prefetch_batches", "shuffle_seed"]
)
def test_numbers_out_of_range_are_refused(sets, make, name):
  with pytest.raises(ValueError, match=rf"data\.{name}: got -1"):
    make((sets[0], 1.0), **{name: -1})
