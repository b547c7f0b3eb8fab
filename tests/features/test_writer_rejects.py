"""Items that give no record: listed by reason, and capped."""

import dataclasses
import json

import pytest

from tests.features import test_writer as sets
from unialign_jax.data.sources import base
from unialign_jax.features import rejects

REJECTED = base.Rejected(
  key="7", source="fakes", reason="null image", detail="column image"
)
FILTERED = base.Rejected(key="8", source="fakes", reason="filtered: score")


def test_rejected_items_are_listed_by_reason(tmp_path):
  samples = [REJECTED, FILTERED, *sets.SAMPLES[:3], sets.BAD["image"], FILTERED]
  manifest = sets.write(samples, tmp_path, max_rejected=2)
  assert manifest.rejected == {
    "cannot be encoded": 1,
    "filtered: score": 2,
    "null image": 1,
  }
  assert [s.skipped for s in manifest.shards] == [2, 1]  # the third has no file
  lines = (tmp_path / rejects.FILENAME).read_text().splitlines()
  found = [json.loads(line) for line in lines]
  assert [line["index"] for line in found] == [0, 1, 5, 6]
  assert found[0] == {"index": 0} | dataclasses.asdict(REJECTED)
  assert (found[2]["key"], found[2]["source"]) == ("sample-9", "fakes")
  assert "resize it" in found[2]["detail"]


def test_the_cap_grows_with_what_was_read(tmp_path):
  samples = [*sets.SAMPLES[:7], REJECTED, sets.SAMPLES[7], REJECTED]
  fraction = {"max_rejected_fraction": 0.2}  # 1 of 8, then 2 of 10
  assert sets.write(samples, tmp_path / "a", **fraction).num_records == 8
  with pytest.raises(rejects.RejectedError, match=r"got 2 rejected .* 9 read"):
    sets.write([*samples[:8], REJECTED], tmp_path / "b", **fraction)


def test_the_cap_counts_what_was_rejected_before_a_restart(tmp_path):
  samples = [*sets.SAMPLES[:2], REJECTED, *sets.SAMPLES[2:], REJECTED]
  for _ in range(2):
    with pytest.raises(rejects.RejectedError, match="got 2 rejected"):
      sets.write(samples, tmp_path, max_rejected=1)
  assert len(list(tmp_path.glob("parts/*.json"))) == 3


def test_the_cap_counts_what_was_read_before_a_restart(tmp_path):
  samples = [*sets.SAMPLES[:3], REJECTED, *sets.SAMPLES[3:]]
  sets.write(samples, tmp_path, worker=(0, 3))
  manifest = sets.write(samples, tmp_path, max_rejected_fraction=0.25)
  assert manifest.rejected == {"null image": 1}


def test_a_stream_may_begin_with_rejected_items(tmp_path):
  manifest = sets.write(
    iter([FILTERED, REJECTED, *sets.SAMPLES]), tmp_path, max_rejected=1
  )
  assert manifest.rejected == {"filtered: score": 1, "null image": 1}
  assert [r.key for r in sets.read(tmp_path)] == [s.key for s in sets.SAMPLES]


def test_the_cap_error_is_a_table_with_the_remedy(tmp_path):
  with pytest.raises(rejects.RejectedError) as e:
    sets.write([FILTERED, *[REJECTED] * 3], tmp_path, max_rejected=2)
  message = str(e.value)
  assert "        3  null image       fakes 7: column image\n" in message
  assert "        1  filtered: score  fakes 8\n" in message
  assert "raise one of the two keys in config.writer" in message


def test_what_a_filter_takes_is_not_capped(tmp_path):
  samples = [*[FILTERED] * 7, *sets.SAMPLES]
  assert sets.write(samples, tmp_path).rejected == {"filtered: score": 7}


def test_nothing_but_rejected_items(tmp_path):
  with pytest.raises(ValueError, match="as all 5 items were rejected"):
    sets.write([FILTERED] * 5, tmp_path)
