"""Choosing rows, and turning what is wrong with one into a rejection."""

import pytest

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import parquet_source
from unialign_jax.data.sources import rejection

_COLUMNS = {"image": hf.IMAGE, "text": hf.STRING}


class _Captions:
  def source(self, fields):
    del fields
    return "set/part"

  def build(self, row):
    caption = row.text("text", "empty caption")
    return base.Raw(
      key=row.key,
      task="text_to_image",
      source=row.source,
      license="mit",
      caption_source="dataset",
      target=row.picture("image", (0, 0, 2, row.part + 1)),
      instruction=caption,
    )


def _rows(folder, *rows):
  hf.write(folder / "a.parquet", _COLUMNS, rows)
  return parquet_source.open_rows(folder, "*.parquet", tuple(_COLUMNS))


def test_rows_and_parts_are_those_asked_for(tmp_path):
  pictures = [written.picture(shade) for shade in range(3)]
  rows = _rows(
    tmp_path,
    *(
      {"image": hf.image(p), "text": f" {i}\n"} for i, p in enumerate(pictures)
    ),
  )
  plain = parquet_source.ParquetSource(rows, _Captions(), [2, 0])
  assert [item.key for item in plain] == ["a/2", "a/0"]
  assert [item.instruction for item in plain] == ["2", "0"]
  parted = parquet_source.ParquetSource(rows, _Captions(), [1, 1], [0, 3])
  assert [item.key for item in parted] == ["a/1/0", "a/1/3"]
  assert parted[1].target == base.Picture(pictures[1], (0, 0, 2, 4))


@pytest.mark.parametrize(
  ("row", "reason"),
  [
    ({"text": "x"}, "null image"),
    ({"text": "x", "image": hf.image(None)}, "null image"),
    ({"text": "x", "image": hf.image(b"")}, "null image"),
    ({"image": hf.image(b"x")}, "empty caption"),
    ({"image": hf.image(b"x"), "text": " \n"}, "empty caption"),
  ],
)
def test_a_bad_row_is_rejected_with_its_reason(tmp_path, row, reason):
  rows = _rows(tmp_path, row)
  item = parquet_source.ParquetSource(rows, _Captions(), [0])[0]
  assert isinstance(item, base.Rejected)
  assert (item.key, item.source, item.reason) == ("a/0", "set/part", reason)


def test_an_index_outside_is_an_error_not_another_row(tmp_path):
  rows = _rows(tmp_path, {"text": "x", "image": hf.image(b"x")})
  source = parquet_source.ParquetSource(rows, _Captions(), [0])
  with pytest.raises(IndexError):
    source[1]


def test_no_rows_are_refused(tmp_path):
  rows = _rows(tmp_path, {"text": "x"})
  with pytest.raises(base.SourceError, match="check the options"):
    parquet_source.ParquetSource(rows, _Captions(), [])


@pytest.mark.parametrize(
  ("wanted", "rows"),
  [
    ((), [0, 1, 2, 3]),
    ("", [0, 1, 2, 3]),
    ("b", [1, 3]),
    (["a", "b"], [0, 1, 3]),
  ],
)
def test_pick(wanted, rows):
  values = ["a", "b", None, "b"]
  assert parquet_source.pick(values, wanted, "kinds").tolist() == rows


def test_pick_names_what_there_is():
  with pytest.raises(base.SourceError, match=r"kinds: got \['c'\].*\['a'\]"):
    parquet_source.pick(["a", None], ["a", "c"], "kinds")


def test_sentences_end_before_the_next_begins():
  join = parquet_source.sentences
  assert join(["as it is"]) == "as it is"
  assert join(["one", "Two!", "three."]) == "one. Two! three."


@pytest.mark.parametrize("score", [None, 4.9])
def test_a_score_below_the_least_rejects_and_0_is_off(score):
  scores = {} if score is None else {"q": score}
  parquet_source.at_least(scores, {"q": 0})
  with pytest.raises(rejection.Rejection) as caught:
    parquet_source.at_least(scores, {"q": 5})
  assert caught.value.reason == "filtered: q"
  parquet_source.at_least({"q": 5.0}, {"q": 5})
