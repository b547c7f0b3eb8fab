"""Batches: the same on any number of hosts, exactly once, damage contained."""

import dataclasses

import numpy as np
import pytest

from tests.data import pipelines
from tests.features import fakes
from unialign_jax.features import manifest as manifest_lib


def test_batch_fields(sets, make):
  t2i, edit = sets
  batch = next(make((edit, 1.0), batch_size=3))
  shapes = {name: (x.dtype.name, x.shape) for name, x in batch.items()}
  assert shapes == {
    "latents_mean": ("float16", (3, 2, 2, 3)),
    "latents_std": ("float16", (3, 2, 2, 3)),
    "cond_latents": ("float16", (3, 1, 2, 2, 3)),
    "prompt_ids": ("int32", (3, pipelines.LENGTH)),
    "caption_ids": ("int32", (3, pipelines.LENGTH)),
    "label_mask": ("bool", (3, pipelines.LENGTH)),
    "h_image": ("float16", (3, fakes.SEMANTIC_DIM)),
    "h_text": ("float16", (3, fakes.SEMANTIC_DIM)),
    "prompt_features": ("bfloat16", (3, pipelines.LENGTH, fakes.TEXT_DIM)),
    "masked_ids": ("int32", (3, pipelines.LENGTH)),
    "is_masked": ("bool", (3, pipelines.LENGTH)),
    "masked_t": ("float32", (3,)),
    "masked_features": ("bfloat16", (3, pipelines.LENGTH, fakes.TEXT_DIM)),
    "record_id": ("int64", (3,)),
    "source_id": ("int32", (3,)),
  }
  assert "cond_latents" not in next(make((t2i, 1.0)))


def test_online_mode_leaves_stored_features_alone(sets, make):
  online = dataclasses.replace(pipelines.EXPECTATIONS, text_features="online")
  batch = next(make((sets[0], 1.0), expectations=online))
  assert {"masked_t", "prompt_features"}.isdisjoint(batch)


def test_order_is_the_same_on_1_2_and_4_hosts(sets, make):
  sources = ((sets[0], 0.6), (sets[1], 0.4))
  alone = pipelines.take(make(*sources), 12)
  for hosts in (2, 4):
    parts = [make(*sources, host=(h, hosts)) for h in range(hosts)]
    for expected in alone:
      batch = pipelines.joined([next(part) for part in parts])
      pipelines.assert_same_batch(batch, expected)
    states = [part.get_state() for part in parts]
    records = {sets[0]: pipelines.NUM_T2I, sets[1]: pipelines.NUM_EDIT}
    state = {"global_next_index": 12 * 8, "records": records}
    assert states == [state] * hosts


def test_a_state_continues_on_another_number_of_hosts(sets, make):
  sources = ((sets[0], 0.6), (sets[1], 0.4))
  alone = pipelines.take(make(*sources), 9)
  four = [make(*sources, host=(h, 4)) for h in range(4)]
  for part in four:
    pipelines.take(part, 3)
  two = [make(*sources, host=(h, 2)) for h in range(2)]
  for part in two:
    part.set_state(four[3].get_state())
  for expected in alone[3:6]:
    pipelines.assert_same_batch(
      pipelines.joined([next(part) for part in two]), expected
    )
  one = make(*sources)
  next(one)  # a pipeline that has begun can be set back and forth
  one.set_state(two[0].get_state())
  for expected in alone[6:]:
    pipelines.assert_same_batch(next(one), expected)


def test_a_state_between_batches_is_refused(sets, make):
  batches = make((sets[0], 1.0))
  with pytest.raises(ValueError, match=r"got 12 examples.*batch_size=8"):
    batches.set_state({"global_next_index": 12})


def test_a_source_with_another_number_of_records_is_refused(sets, make):
  batches = make((sets[0], 0.5), (sets[1], 0.5))
  state = batches.get_state() | {"global_next_index": 8}
  state["records"] |= {sets[1]: pipelines.NUM_EDIT + 1, "no longer read": 5}
  with pytest.raises(
    ValueError, match=rf"got {pipelines.NUM_EDIT} records in .*edit.*11"
  ):
    batches.set_state(state)
  # As an earlier version has saved it.
  batches.set_state({"global_next_index": 8})
  assert batches.next_index == 1


def test_one_source_goes_on_with_another_batch_size(sets, make):
  eight, four = (make((sets[0], 1.0), batch_size=size) for size in (8, 4))
  ids = pipelines.joined(pipelines.take(eight, 5))["record_id"]
  four.set_state(pipelines.take(eight, 1) and {"global_next_index": 3 * 8})
  np.testing.assert_array_equal(
    pipelines.joined(pipelines.take(four, 4))["record_id"], ids[24:]
  )


def test_each_batch_has_one_task_known_from_the_step(sets, make):
  batches = make((sets[0], 0.75), (sets[1], 0.25))
  tasks = []
  for step, batch in enumerate(pipelines.take(batches, 8)):
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
  for _ in range(2 * pipelines.DRAWS):
    epoch = pipelines.joined(
      pipelines.take(batches, pipelines.NUM_T2I // batch_size)
    )
    order = np.argsort(epoch["record_id"])
    assert epoch["record_id"][order].tolist() == list(range(pipelines.NUM_T2I))
    # The picture tells the number of the sample.
    expected = epoch["record_id"] / 2
    np.testing.assert_array_equal(epoch["latents_mean"][:, 0, 0, 0], expected)
    orders.append(epoch["record_id"].tolist())
    times.append(epoch["masked_t"][order])
  assert len({tuple(order) for order in orders}) == len(orders)
  np.testing.assert_array_equal(times[0], times[pipelines.DRAWS])
  np.testing.assert_array_equal(times[1], times[pipelines.DRAWS + 1])
  # Two draws are antithetic: half a period apart.
  apart = np.abs(times[0] - times[1])
  np.testing.assert_allclose(apart, (1 - 1e-3) / 2, rtol=1e-4)


def test_seed_and_source_change_the_order(sets, make):
  def ids(seed, *sources):
    return pipelines.take(make(*sources, shuffle_seed=seed), 2)[-1][
      "record_id"
    ].tolist()

  one, twice = [(sets[0], 1.0)], [(sets[0], 0.5), (sets[0], 0.5)]
  assert ids(0, *one) == ids(0, *one)
  assert ids(0, *one) != ids(1, *one)
  first, second = pipelines.take(make(*twice), 2)
  assert first["record_id"].tolist() != second["record_id"].tolist()


def test_int8_features_are_read_as_bfloat16(tmp_path, make):
  pipelines.write(tmp_path, [fakes.sample(i) for i in range(4)], dtype="int8")
  batch = next(make((str(tmp_path), 1.0), batch_size=4))
  exact = fakes.FakeTextEncoder().encode(batch["masked_ids"])
  error = np.abs(batch["masked_features"].astype(np.float32) - exact)
  assert batch["masked_features"].dtype.name == "bfloat16"
  assert error.max() < 0.01 * np.abs(exact).max()


def test_a_set_smaller_than_a_batch_is_repeated(tmp_path, make):
  pipelines.write(tmp_path, [fakes.sample(0)])
  batch = next(make((str(tmp_path), 1.0), batch_size=4))
  assert batch["record_id"].tolist() == [0] * 4
  assert len(set(batch["masked_t"].tolist())) == pipelines.DRAWS


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
  expectations = dataclasses.replace(
    pipelines.EXPECTATIONS, latent_shape=(64, 64, 16)
  )
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
