"""PromptFix's parquet: restorations by task, without captions."""

import pickle

import pytest

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import promptfix

_COLUMNS = {
  "input_img": hf.IMAGE,
  "processed_img": hf.IMAGE,
  "instruction": hf.STRING,
  "auxiliary_prompt": hf.STRING,
  "task_id": hf.STRING,
}


def _row(number, **fields):
  """The source is larger than the target, as some are."""
  return {
    "input_img": hf.image(written.picture(number, "JPEG", size=(16, 12))),
    "processed_img": hf.image(written.picture(100 + number, "PNG")),
    "instruction": f"fix {number}",
    "auxiliary_prompt": "a blurred photo",
    "task_id": "Deblur",
  } | fields


@pytest.fixture
def root(tmp_path):
  hf.write(
    tmp_path / "data" / "train-00000-of-00100.parquet",
    _COLUMNS,
    [_row(0), _row(1, task_id=None), _row(2, input_img=None)],
  )
  hf.write(
    tmp_path / "data" / "train-00001-of-00100.parquet",
    _COLUMNS,
    [
      _row(3, instruction=None),
      _row(4, auxiliary_prompt=None, task_id="Dehaze"),
      _row(5, processed_img=hf.image(None)),
    ],
  )
  return tmp_path


def test_rows_become_edits_without_a_caption(root):
  source = promptfix.open_source(root)
  assert len(source) == 6
  assert source[0] == base.Raw(
    key="train-00000-of-00100/0",
    task="edit",
    source="promptfix/Deblur",
    license="academic, no commercial use",
    caption_source="",
    target=base.Picture(written.picture(100, "PNG")),
    conditions=(base.Picture(written.picture(0, "JPEG", size=(16, 12))),),
    instruction="fix 0",
    caption="",
  )
  assert source[1].source == "promptfix/unknown"
  assert source[4].source == "promptfix/Dehaze"


def test_rows_that_lack_something_are_rejected(root):
  rejected = {
    item.key: (item.reason, item.detail)
    for item in promptfix.open_source(root)
    if isinstance(item, base.Rejected)
  }
  assert rejected == {
    "train-00000-of-00100/2": ("null image", "input_img"),
    "train-00001-of-00100/0": ("empty instruction", "got None"),
    "train-00001-of-00100/2": ("null image", "processed_img"),
  }


def test_tasks_are_chosen_by_id(root):
  source = promptfix.open_source(root, task_ids=["Dehaze"])
  assert [item.key for item in source] == ["train-00001-of-00100/1"]
  with pytest.raises(base.SourceError, match=r"\['Deblur', 'Dehaze'\]"):
    promptfix.open_source(root, task_ids=["dehaze"])


def test_missing_columns_are_named(tmp_path):
  columns = {"instruction": hf.STRING, "task_id": hf.STRING}
  hf.write(tmp_path / "train-0.parquet", columns, [_row(0)])
  with pytest.raises(
    base.SourceError, match=r"expected \['input_img', 'processed_img'\]"
  ):
    promptfix.open_source(tmp_path)


def test_a_copy_in_another_process_gives_the_same(root):
  source = promptfix.open_source(root)
  first = source[0]
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == first
  assert list(copy) == list(source)
