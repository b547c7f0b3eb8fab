"""OmniEdit's parquet: one of several wordings, scores and their limits."""

import pickle

import pyarrow as pa
import pytest

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import omniedit

_COLUMNS = {
  "omni_edit_id": hf.STRING,
  "task": hf.STRING,
  "src_img": hf.IMAGE,
  "edited_img": hf.IMAGE,
  "edited_prompt_list": pa.list_(hf.STRING),
  "width": pa.int64(),
  "height": pa.int64(),
  "sc_score_1": pa.int64(),
  "sc_score_2": pa.int64(),
  "sc_reasoning": hf.STRING,
  "pq_score": pa.int64(),
  "pq_reasoning": hf.STRING,
  "o_score": pa.float64(),
}


def _row(number, **fields):
  return {
    "omni_edit_id": f"task_{number}",
    "task": "addition",
    "src_img": hf.image(written.picture(number, "PNG")),
    "edited_img": hf.image(written.picture(100 + number, "JPEG")),
    "edited_prompt_list": [f"short {number}", f"long {number}"],
    "width": 8,
    "height": 6,
    "sc_score_1": 9,
    "sc_score_2": 8,
    "pq_score": 7,
    "o_score": 7.5,
  } | fields


def _write(root, rows, columns=_COLUMNS, name="train-00000-of-00001"):
  hf.write(root / "data" / f"{name}.parquet", columns, rows)


def test_rows_become_edits_with_scores(tmp_path):
  rows = [
    _row(0, edited_prompt_list=[" ", "only one", None]),
    _row(1, task=None, sc_score_1=None, o_score=None),
    _row(2),
  ]
  _write(tmp_path, rows)
  source = omniedit.open_source(tmp_path)
  assert source[0] == base.Raw(
    key="train-00000-of-00001/0",
    task="edit",
    source="omniedit/addition",
    license="mit",
    caption_source="",
    target=base.Picture(written.picture(100, "JPEG")),
    conditions=(base.Picture(written.picture(0, "PNG")),),
    instruction="only one",
    scores={"sc_score_1": 9, "sc_score_2": 8, "pq_score": 7, "o_score": 7.5},
  )
  assert source[1].scores == {"sc_score_2": 8, "pq_score": 7}
  assert source[1].source == "omniedit/unknown"
  assert source[2].target.data == written.picture(102, "JPEG")


def test_the_wording_is_the_same_in_every_run_and_each_has_its_turn(tmp_path):
  rows = [_row(i, edited_prompt_list=["a", "b", "c"]) for i in range(60)]
  _write(tmp_path, rows)
  wordings = [item.instruction for item in omniedit.open_source(tmp_path)]
  assert all(wordings.count(w) >= 10 for w in "abc")
  # From the key alone: fixed, so that a changed hash is noticed.
  assert "".join(wordings[:12]) == "caaaaaccaacb"


def test_rows_that_lack_something_are_rejected(tmp_path):
  rows = [
    _row(0, src_img=None),
    _row(1, edited_img=hf.image(None)),
    _row(2, edited_prompt_list=[]),
    _row(3, edited_prompt_list=None),
    _row(4, edited_prompt_list=["", None]),
  ]
  _write(tmp_path, rows)
  assert [item.reason for item in omniedit.open_source(tmp_path)] == [
    "null image",
    "null image",
    "empty instruction",
    "empty instruction",
    "empty instruction",
  ]


@pytest.mark.parametrize(
  ("name", "score"),
  [("sc_score_1", 9), ("sc_score_2", 8), ("pq_score", 7), ("o_score", 7.5)],
)
def test_each_score_has_its_limit(tmp_path, name, score):
  _write(
    tmp_path, [_row(0), _row(1, **{name: score - 1}), _row(2, **{name: None})]
  )
  source = omniedit.open_source(tmp_path, **{f"min_{name}": score})
  assert isinstance(source[0], base.Raw)
  assert [source[1].reason, source[2].reason] == [f"filtered: {name}"] * 2
  assert source[2].detail == f"got None, expected at least {score}"
  unfiltered = omniedit.open_source(tmp_path)
  assert all(isinstance(item, base.Raw) for item in unfiltered)


def test_tasks_and_splits(tmp_path):
  _write(tmp_path, [_row(0), _row(1, task="style"), _row(2)])
  _write(tmp_path, [_row(3)], name="dev-00000-of-00001")
  source = omniedit.open_source(tmp_path, tasks=("style",))
  assert [(item.key[-1], item.source) for item in source] == [
    ("1", "omniedit/style")
  ]
  with pytest.raises(base.SourceError, match=r"\['addition', 'style'\]"):
    omniedit.open_source(tmp_path, tasks="swap")
  assert len(omniedit.open_source(tmp_path, split="dev")) == 1


def test_scores_may_be_missing_unless_they_count(tmp_path):
  columns = {k: v for k, v in _COLUMNS.items() if k != "pq_score"}
  _write(tmp_path, [_row(0)], columns)
  assert "pq_score" not in omniedit.open_source(tmp_path)[0].scores
  with pytest.raises(base.SourceError, match=r"expected \['pq_score'\]"):
    omniedit.open_source(tmp_path, min_pq_score=5)
  del columns["edited_prompt_list"]
  _write(tmp_path, [_row(0)], columns)
  with pytest.raises(base.SourceError, match=r"\['edited_prompt_list'\]"):
    omniedit.open_source(tmp_path)


def test_a_copy_in_another_process_gives_the_same(tmp_path):
  _write(tmp_path, [_row(i) for i in range(5)])
  source = omniedit.open_source(tmp_path, min_o_score=7)
  first = source[0]
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == first
  assert list(copy) == list(source)
