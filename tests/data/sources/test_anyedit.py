"""AnyEdit's parquet: plain and visual edits, captions, the placeholder."""

import pickle

import pytest

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.data.sources import anyedit
from unialign_jax.data.sources import base

_COLUMNS = {
  "image_id": hf.STRING,
  "edit_instruction": hf.STRING,
  "edit_type": hf.STRING,
  "image_file": hf.IMAGE,
  "edited_file": hf.IMAGE,
  "visual_input": hf.IMAGE,
  "input": hf.STRING,
  "output": hf.STRING,
}


def _row(number, edit_type, **fields):
  return {
    "image_id": f"id{number}",
    "edit_instruction": f"edit {number}",
    "edit_type": edit_type,
    "image_file": hf.image(written.picture(number, "JPEG")),
    "edited_file": hf.image(written.picture(100 + number, "PNG")),
    "input": f"before {number}",
    "output": f"after {number}",
  } | fields


@pytest.fixture
def root(tmp_path):
  """Blocks of one type over two files and several row groups."""
  second = hf.image(written.picture(200, "WEBP"))
  visual = {
    "edit_instruction": "Follow [V*] to add a cat, see [v*]",
    "visual_input": second,
  }
  hf.write(
    tmp_path / "data" / "train-00000-of-00002.parquet",
    _COLUMNS,
    [
      _row(0, "visual_depth", **visual),
      _row(1, "visual_depth", visual_input=None),
      _row(2, "color_alter"),
    ],
  )
  hf.write(
    tmp_path / "data" / "train-00001-of-00002.parquet",
    _COLUMNS,
    [
      _row(3, "color_alter", output=None),
      _row(4, "tone_transfer", edit_instruction="  "),
      _row(5, "add", image_file=None, visual_input=second),
      _row(6, "add", edited_file=hf.image(None)),
      _row(7, "add", output="None"),
      _row(8, "add"),
    ],
  )
  hf.write(
    tmp_path / "data" / "validation-00000-of-00001.parquet",
    _COLUMNS,
    [_row(9, "add")],
  )
  return tmp_path


def test_plain_edits_have_the_source_as_their_condition(root):
  source = anyedit.open_source(root)
  assert len(source) == 7
  assert source[0] == base.Raw(
    key="train-00000-of-00002/2",
    task="edit",
    source="anyedit/color_alter",
    license="cc-by-4.0",
    caption_source="dataset",
    target=base.Picture(written.picture(102, "PNG")),
    conditions=(base.Picture(written.picture(2, "JPEG")),),
    instruction="edit 2",
    caption="after 2",
  )
  assert source[6].key == "train-00001-of-00002/5"
  assert source[6].target.data == written.picture(108, "PNG")


def test_rows_that_lack_something_are_rejected_with_the_reason(root):
  source = anyedit.open_source(root)
  rejected = {
    (item.source, item.key[-1]): item.reason
    for item in source
    if isinstance(item, base.Rejected)
  }
  assert rejected == {
    ("anyedit/color_alter", "0"): "empty caption",
    ("anyedit/tone_transfer", "1"): "empty instruction",
    ("anyedit/add", "2"): "null image",
    ("anyedit/add", "3"): "null image",
    ("anyedit/add", "4"): "empty caption",
  }


def test_visual_edits_have_the_visual_input_as_second_condition(root):
  source = anyedit.open_source(root, visual=True)
  assert len(source) == 2
  assert [condition.data for condition in source[0].conditions] == [
    written.picture(0, "JPEG"),
    written.picture(200, "WEBP"),
  ]
  assert source[0].source == "anyedit/visual_depth"
  assert source[1].reason == "null image"
  assert source[1].detail == "visual_input"


def test_the_placeholder_is_kept_or_replaced(root):
  kept = anyedit.open_source(root, visual=True)[0].instruction
  assert kept == "Follow [v*] to add a cat, see [v*]"
  named = anyedit.open_source(root, visual=True, placeholder=r"image \2")
  assert named[0].instruction == (r"Follow image \2 to add a cat, see image \2")


def test_types_are_chosen_by_name_in_both_spellings(root):
  source = anyedit.open_source(root, edit_types=["tune_transfer", "add"])
  assert [item.source for item in source] == [
    "anyedit/tone_transfer",
    *["anyedit/add"] * 4,
  ]
  with pytest.raises(base.SourceError, match=r"edit_types: got \['ad'\]"):
    anyedit.open_source(root, edit_types="ad")
  # A type of the other group leaves nothing.
  with pytest.raises(base.SourceError, match="of the kind asked for"):
    anyedit.open_source(root, edit_types="visual_depth")


def test_splits(root):
  source = anyedit.open_source(root, split="validation")
  assert [item.instruction for item in source] == ["edit 9"]
  assert len(anyedit.open_source(root, split="*")) == 8


def test_missing_columns_are_named(tmp_path):
  columns = {k: v for k, v in _COLUMNS.items() if k != "visual_input"}
  hf.write(tmp_path / "train-0.parquet", columns, [_row(0, "add")])
  assert len(anyedit.open_source(tmp_path)) == 1
  with pytest.raises(base.SourceError, match=r"expected \['visual_input'\]"):
    anyedit.open_source(tmp_path, visual=True)
  del columns["output"]
  hf.write(tmp_path / "train-0.parquet", columns, [_row(0, "add")])
  with pytest.raises(base.SourceError, match=r"expected \['output'\]"):
    anyedit.open_source(tmp_path)


def test_a_copy_in_another_process_gives_the_same(root):
  source = anyedit.open_source(root)
  first = source[0]  # with a file open
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == first
  assert list(copy) == list(source)
