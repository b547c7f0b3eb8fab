"""Feature sets: what is in them, and that any interruption ends in the same."""

import dataclasses

import grain
import jax
import numpy as np
import pytest

from tests.features import fakes
from unialign_jax.data.sources import base
from unialign_jax.features import draws as draws_lib
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import null_prompt
from unialign_jax.features import rejects
from unialign_jax.features import schema
from unialign_jax.features import shards
from unialign_jax.features import verify
from unialign_jax.features import writer

CONFIG = writer.WriterConfig(
  text_length=8,
  draws=4,
  shard_size=3,
  batch_size=2,
  feature_dtype="float32",
)
SAMPLES = [fakes.sample(i) for i in range(8)]


def write(samples, folder, *, nets=None, worker=(0, 1), **changes):
  return writer.write_features(
    samples,
    folder,
    nets or fakes.nets(),
    dataclasses.replace(CONFIG, **changes),
    worker_index=worker[0],
    num_workers=worker[1],
  )


def read(folder) -> list[schema.Record]:
  paths = shards.checked_paths(folder, manifest_lib.load(folder))
  source = grain.sources.ArrayRecordDataSource(paths)
  return [schema.deserialize(source[i]) for i in range(len(source))]


def contents(folder) -> dict[str, bytes]:
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


def test_records_hold_what_the_encoders_gave(tmp_path):
  samples = [fakes.edit_sample(i) for i in range(5)]
  manifest = write(samples, tmp_path)
  assert manifest == manifest_lib.load(tmp_path)
  assert [shard.records for shard in manifest.shards] == [3, 2]
  assert (manifest.layout.task, manifest.layout.num_cond) == ("edit", 1)
  assert manifest.layout.latent_shape == fakes.LATENT_SHAPE
  records = read(tmp_path)
  assert [r.key for r in records] == [s.key for s in samples]
  for i, record in enumerate(records):
    np.testing.assert_array_equal(record.latents_mean, np.float16(i / 2))
    np.testing.assert_array_equal(record.latents_std, np.float16(0.25))
    np.testing.assert_array_equal(record.cond_latents, np.float16(50 + i / 2))
    np.testing.assert_array_equal(record.h_image, np.float16(i / 8))
    # "draw #1x": a word of four letters and token 1x.
    np.testing.assert_array_equal(record.prompt_ids, [14, 10 + i] + [1] * 6)
    np.testing.assert_array_equal(record.label_mask, [1] * 7 + [0])
    assert record.license == "CC0-1.0"


def test_features_by_patch_are_kept_by_patch(tmp_path):
  nets = dataclasses.replace(fakes.nets(), semantic=fakes.FakePatchEncoder())
  manifest = writer.write_features(SAMPLES, tmp_path, nets, CONFIG)
  assert manifest.layout.h_image_shape == (4, fakes.SEMANTIC_DIM)
  for i, record in enumerate(read(tmp_path)):
    want = np.float16(i / 8) * np.arange(1, 5, dtype=np.float16)
    for column in record.h_image.T:
      np.testing.assert_array_equal(column, want)
  assert not verify.verify(tmp_path).faults


def test_draws_are_antithetic_and_their_features_are_of_the_masked_ids(
  tmp_path,
):
  write(SAMPLES, tmp_path)
  text = fakes.FakeTextEncoder()
  masked_share = []
  for record in read(tmp_path):
    places = (record.masked_t - 1e-3) / (1 - 1e-3)
    assert sorted((places * CONFIG.draws).astype(int)) == [0, 1, 2, 3]
    is_masked = record.is_masked.astype(bool)
    np.testing.assert_array_equal(
      record.masked_ids, np.where(is_masked, fakes.MASK_ID, record.caption_ids)
    )
    np.testing.assert_array_equal(
      record.masked_features, text.encode(record.masked_ids)
    )
    np.testing.assert_array_equal(
      record.prompt_features, text.encode(record.prompt_ids[None])[0]
    )
    masked_share.append(is_masked.mean(-1) - record.masked_t)
  # 32 draws of 8 tokens: the share of masked tokens follows t.
  assert abs(np.mean(masked_share)) < 0.1
  assert len({record.masked_t[0] for record in read(tmp_path)}) == 8


def test_a_question_is_never_masked(tmp_path):
  samples = [
    fakes.sample(
      i, task="understanding", question="what is #20", caption="#30 #31"
    )
    for i in range(3)
  ]
  write(samples, tmp_path, text_length=12, draws=16)
  for record in read(tmp_path):
    # Q: what is #20 A: | #30 #31 EOS | padding
    ids = [12, 14, 12, 20, 12, 30, 31, 1, 1, 1, 1, 1]
    np.testing.assert_array_equal(record.caption_ids, ids)
    np.testing.assert_array_equal(record.label_mask, [0] * 5 + [1] * 6 + [0])
    assert not record.is_masked[:, [0, 1, 2, 3, 4, -1]].any()
    assert record.is_masked[:, 5:-1].any(0).all()


def test_draws_depend_on_seed_and_sample_alone():
  ids = np.tile(np.arange(10, 18, dtype=np.int32), (3, 1))
  label_mask = np.ones((3, 8), bool)

  def draw(seed, index):
    index = np.array(index, np.int32)
    n = len(index)
    return draws_lib.masked_draws(
      jax.random.key(seed),
      index,
      ids[:n],
      label_mask[:n],
      draws=4,
      mask_id=fakes.MASK_ID,
    )

  together, alone, other = draw(0, [4, 5, 6]), draw(0, [5]), draw(1, [5])
  for a, b in zip(together, alone, strict=True):
    np.testing.assert_array_equal(a[1], b[0])
  assert not np.array_equal(alone[2], other[2])
  assert not np.array_equal(together[2][0], together[2][1])


def test_long_texts_are_cut_before_eos_and_counted(tmp_path):
  texts = ["#20 " * n for n in (6, 7, 8, 20)]
  samples = [
    fakes.sample(i, instruction=text, caption=text)
    for i, text in enumerate(texts)
  ]
  manifest = write(samples, tmp_path, shard_size=4, draws=0)
  assert manifest.shards[0].truncated_prompts == 2
  assert manifest.shards[0].truncated_captions == 2
  for record, words in zip(read(tmp_path), (6, 7, 7, 7), strict=True):
    expected = [20] * words + [1] * (8 - words)
    np.testing.assert_array_equal(record.prompt_ids, expected)
    np.testing.assert_array_equal(record.caption_ids, expected)


def test_an_answer_too_long_keeps_its_eos(tmp_path):
  sample = fakes.sample(
    0, task="understanding", question="#20", caption="#30 " * 9
  )
  manifest = write([sample], tmp_path, draws=0)
  assert manifest.shards[0].truncated_captions == 1
  np.testing.assert_array_equal(
    read(tmp_path)[0].caption_ids, [12, 20, 12, 30, 30, 30, 30, 1]
  )


BAD = {
  "question": fakes.sample(
    9, task="text_to_image", question="#20 " * 7, caption="yes"
  ),
  "mask token": fakes.sample(9, caption=f"a #{fakes.MASK_ID}"),
  "task": fakes.sample(9, task="edit"),
  "condition images": fakes.sample(
    9, cond_images=(np.zeros((8, 8, 3), np.uint8),)
  ),
  "image": fakes.sample(9, target_image=np.zeros((8, 4, 3), np.uint8)),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_sample_is_named_and_ends_the_run(tmp_path, reason):
  with pytest.raises(ValueError, match=rf"sample-9.*{reason}"):
    write([*SAMPLES[:4], BAD[reason]], tmp_path)


def test_bad_samples_are_skipped_counted_and_capped(tmp_path):
  samples = [*SAMPLES[:2], *BAD.values(), *SAMPLES[2:]]
  manifest = write(samples, tmp_path / "a", max_rejected=5, shard_size=4)
  assert [s.skipped for s in manifest.shards] == [2, 3, 0, 0]
  assert [s.records for s in manifest.shards] == [2, 1, 4, 1]
  assert manifest.rejected == {"cannot be encoded": 5}
  assert [r.key for r in read(tmp_path / "a")] == [s.key for s in SAMPLES]
  with pytest.raises(
    rejects.RejectedError, match=r"got 5 rejected .* at most 4"
  ):
    write(samples, tmp_path / "b", max_rejected=4, shard_size=4)


def test_a_shard_without_records_is_no_file(tmp_path):
  samples = [*SAMPLES[:3], *[BAD["image"]] * 3, *SAMPLES[3:5]]
  manifest = write(samples, tmp_path, max_rejected=3)
  names = ["shard-00000.arrayrecord", "shard-00002.arrayrecord"]
  assert [shard.name for shard in manifest.shards] == names
  assert sorted(p.name for p in tmp_path.glob("*.arrayrecord")) == names
  assert [r.key for r in read(tmp_path)] == [s.key for s in SAMPLES[:5]]
  assert write(samples, tmp_path, max_rejected=3) == manifest


class Interrupted(KeyboardInterrupt):
  pass


class InterruptedAfter(list):
  """The samples, until one is asked for."""

  def __init__(self, count: int):
    super().__init__(SAMPLES)
    self._count = count

  def __getitem__(self, index):
    if index == self._count:
      raise Interrupted
    return super().__getitem__(index)


def as_stream(samples):
  return (samples[i] for i in range(len(samples)))


@pytest.mark.parametrize("form", [list, as_stream])
def test_an_interrupted_run_is_finished(tmp_path, form):
  write(form(SAMPLES), tmp_path / "whole")
  folder = tmp_path / "parts"
  with pytest.raises(Interrupted):
    begun = InterruptedAfter(5)
    begun = begun if form is list else form(begun)
    write(begun, folder, batch_size=1)
  with pytest.raises(manifest_lib.ManifestError, match="finished set"):
    manifest_lib.load(folder)
  (begun,) = folder.glob("*.arrayrecord.tmp-*")
  begun.rename(folder / "shard-00001.arrayrecord.tmp-otherhost-7")
  first = folder / "shard-00000.arrayrecord"
  written_at = first.stat().st_mtime_ns
  nets = fakes.nets()
  write(form(SAMPLES), folder, nets=nets)
  assert contents(folder) == contents(tmp_path / "whole")
  assert first.stat().st_mtime_ns == written_at
  # The null prompt, and prompt and draws of the five samples left.
  assert nets.text.num_encoded == 1 + 5 * (1 + CONFIG.draws)


def test_a_finished_set_is_left_alone(tmp_path):
  manifest = write(SAMPLES, tmp_path)
  before = contents(tmp_path)
  nets = fakes.nets()
  assert write(SAMPLES, tmp_path, nets=nets) == manifest
  assert nets.text.num_encoded == 1
  assert contents(tmp_path) == before


def test_a_shard_that_lost_bytes_is_written_again(tmp_path):
  write(SAMPLES, tmp_path)
  before = contents(tmp_path)
  (tmp_path / manifest_lib.FILENAME).unlink()
  shard = tmp_path / "shard-00001.arrayrecord"
  shard.write_bytes(shard.read_bytes()[:-1])
  write(SAMPLES, tmp_path)
  assert contents(tmp_path) == before


def test_workers_share_the_work_and_write_the_same(tmp_path):
  write(SAMPLES, tmp_path / "one")
  folder = tmp_path / "three"
  results = [write(SAMPLES, folder, worker=(i, 3)) for i in (2, 0, 1)]
  assert results[:2] == [None, None]
  assert results[2] == manifest_lib.load(tmp_path / "one")
  assert contents(folder) == contents(tmp_path / "one")


def test_batches_do_not_change_records(tmp_path):
  write(SAMPLES, tmp_path / "a", batch_size=1)
  write(SAMPLES, tmp_path / "b", batch_size=5)
  assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("finished", [False, True])
def test_other_settings_do_not_continue_a_set(tmp_path, finished):
  if finished:
    write(SAMPLES, tmp_path)
  else:
    with pytest.raises(Interrupted):
      write(InterruptedAfter(4), tmp_path)
  with pytest.raises(ValueError, match="draws: the folder has 4, this run 2"):
    write(SAMPLES, tmp_path, draws=2)


def test_online_sets_hold_no_text_features(tmp_path):
  nets = fakes.nets()
  write(SAMPLES, tmp_path, nets=nets, draws=0)
  assert nets.text.num_encoded == 1
  assert all(r.draws == 0 and r.prompt_features is None for r in read(tmp_path))


@pytest.mark.parametrize("dtype", schema.FEATURE_DTYPES)
def test_feature_dtypes(tmp_path, dtype):
  write(SAMPLES[:1], tmp_path, feature_dtype=dtype)
  record = read(tmp_path)[0]
  assert record.masked_features.dtype.name == dtype
  assert (record.masked_scale is not None) == (dtype == "int8")


def test_null_prompt(tmp_path):
  write(SAMPLES, tmp_path)
  null = null_prompt.load(tmp_path)
  np.testing.assert_array_equal(null.ids, [fakes.EOS_ID] * 8)
  text = fakes.FakeTextEncoder()
  np.testing.assert_array_equal(null.features, text.encode(null.ids[None])[0])
  path = tmp_path / manifest_lib.NULL_PROMPT_FILENAME
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  with pytest.raises(manifest_lib.ManifestError, match="sha256"):
    null_prompt.load(tmp_path)


class Recorded(list):
  """Remembers which items were read."""

  def __init__(self, *args):
    super().__init__(*args)
    self.indices = []

  def __getitem__(self, index):
    self.indices.append(index)
    return super().__getitem__(index)


def test_a_finished_shard_is_not_read_again(tmp_path):
  write(SAMPLES, tmp_path, worker=(1, 2))
  samples = Recorded(SAMPLES)
  write(samples, tmp_path)
  # The first sample tells the layout; shard 1 holds 3, 4 and 5.
  assert samples.indices == [0, 0, 1, 2, 6, 7]


def test_decode_processes_change_nothing(tmp_path):
  rejected = base.Rejected(key="7", source="fakes", reason="null image")
  items = [*SAMPLES[:4], rejected, *SAMPLES[4:]]
  write(items, tmp_path / "a", max_rejected=1)
  write(items, tmp_path / "b", max_rejected=1, processes=2, chunk=2)
  assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("name", ["source", "framing", "captions"])
def test_other_origins_do_not_continue_a_set(tmp_path, name):
  def begin(value):
    writer.write_features(
      SAMPLES,
      tmp_path,
      fakes.nets(),
      CONFIG,
      worker_index=1,
      num_workers=2,
      origin=manifest_lib.Origin(**{name: value}),
    )

  begin("one")
  with pytest.raises(ValueError, match=f"{name}: the folder has 'one', this"):
    begin("another")
  with pytest.raises(ValueError, match="items: the folder has 8, this run 7"):
    write(SAMPLES[:7], tmp_path)


def test_an_encoder_that_fails_is_heard(tmp_path):
  class Failing(fakes.FakeSemanticEncoder):
    def __call__(self, samples):
      raise MemoryError("of the device")

  nets = dataclasses.replace(fakes.nets(), semantic=Failing())
  with pytest.raises(MemoryError, match="of the device"):
    write(SAMPLES, tmp_path, nets=nets)


def test_the_bar_counts_what_this_run_does(tmp_path, capsys):
  write(SAMPLES, tmp_path, worker=(0, 2))
  writer.write_features(SAMPLES, tmp_path, fakes.nets(), CONFIG, progress=True)
  shown = capsys.readouterr().err
  assert "5/8" in shown and "8/8" in shown and "image/s" in shown
