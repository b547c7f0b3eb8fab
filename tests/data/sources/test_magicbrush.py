"""MagicBrush's parquet: single turns, and sessions from first to last."""

import pickle

import pyarrow as pa
import pytest

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import magicbrush

_COLUMNS = {
  "img_id": hf.STRING,
  "turn_index": pa.int32(),
  "source_img": hf.IMAGE,
  "mask_img": hf.IMAGE,
  "instruction": hf.STRING,
  "target_img": hf.IMAGE,
}


def _row(image, turn, **fields):
  """Target of turn t and source of turn t + 1 are one picture."""
  shade = 10 * int(image)
  return {
    "img_id": image,
    "turn_index": turn,
    "source_img": hf.image(written.picture(shade + turn - 1)),
    "mask_img": hf.image(written.picture(255, "PNG")),
    "instruction": f"do {image}-{turn}",
    "target_img": hf.image(written.picture(shade + turn)),
  } | fields


@pytest.fixture
def root(tmp_path):
  """Sessions 1 (over two files), 2 (one turn), 3 and 4 (broken), 5."""
  hf.write(
    tmp_path / "data" / "train-00000-of-00002.parquet",
    _COLUMNS,
    [
      _row("1", 1),
      _row("1", 2, instruction="Is it done?", target_img=None),
      _row("2", 1),
      _row("3", 1),
      _row("3", 3),
    ],
  )
  hf.write(
    tmp_path / "data" / "train-00001-of-00002.parquet",
    _COLUMNS,
    [
      _row("1", 3),
      _row("4", 2),
      _row("5", 2, instruction=""),
      _row("5", 1),
      _row("6", 2),
      _row("6", 1),
    ],
  )
  hf.write(
    tmp_path / "data" / "dev-00000-of-00001.parquet", _COLUMNS, [_row("9", 1)]
  )
  return tmp_path


def test_every_turn_is_a_sample(root):
  source = magicbrush.open_source(root)
  assert len(source) == 11
  assert source[4] == base.Raw(
    key="train-00000-of-00002/4",
    task="edit",
    source="magicbrush/turn",
    license="cc-by-4.0",
    caption_source="",
    target=base.Picture(written.picture(33)),
    conditions=(base.Picture(written.picture(32)),),
    instruction="do 3-3",
  )
  rejected = [i for i in source if isinstance(i, base.Rejected)]
  assert [(item.key, item.reason) for item in rejected] == [
    ("train-00000-of-00002/1", "null image"),
    ("train-00001-of-00002/2", "empty instruction"),
  ]


def test_sessions_go_from_the_first_source_to_the_last_target(root):
  source = magicbrush.open_source(root, turns="final")
  assert [item.key for item in source] == [
    "session-1",
    "session-3",
    "session-4",
    "session-5",
    "session-6",
  ]
  assert source[0] == base.Raw(
    key="session-1",
    task="edit",
    source="magicbrush/final",
    license="cc-by-4.0",
    caption_source="",
    target=base.Picture(written.picture(13)),
    conditions=(base.Picture(written.picture(10)),),
    instruction="do 1-1. Is it done? do 1-3.",
  )
  assert source[4].instruction == "do 6-1. do 6-2."


def test_broken_sessions_are_rejected(root):
  source = magicbrush.open_source(root, turns="final")
  rejected = {
    item.key: (item.reason, item.detail)
    for item in source
    if isinstance(item, base.Rejected)
  }
  assert rejected == {
    "session-3": ("broken session", "got turns [1, 3], expected [1, 2]"),
    "session-4": ("broken session", "got turns [2], expected [1]"),
    "session-5": ("empty instruction", "got ''"),
  }


def test_a_turn_that_comes_twice_breaks_the_session(tmp_path):
  rows = [_row("7", 1), _row("7", 2), _row("7", 2), _row("8", 1)]
  hf.write(tmp_path / "train-0.parquet", _COLUMNS, rows)
  source = magicbrush.open_source(tmp_path, turns="final")
  assert [item.reason for item in source] == ["broken session"]


def test_split_and_options(root):
  assert [i.instruction for i in magicbrush.open_source(root, split="dev")] == [
    "do 9-1"
  ]
  with pytest.raises(base.SourceError, match="turns='last'"):
    magicbrush.open_source(root, turns="last")


def test_missing_columns_are_named(tmp_path):
  old = {"img_id": hf.STRING, "turn_index": pa.int32()}
  hf.write(tmp_path / "train-0.parquet", old, [_row("1", 1)])
  with pytest.raises(
    base.SourceError, match=r"\['instruction', 'source_img', 'target_img'\]"
  ):
    magicbrush.open_source(tmp_path)


@pytest.mark.parametrize("turns", magicbrush.TURNS)
def test_a_copy_in_another_process_gives_the_same(root, turns):
  source = magicbrush.open_source(root, turns=turns)
  first = source[0]
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == first
  assert list(copy) == list(source)
