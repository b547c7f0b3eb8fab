"""Subjects200K's parquet: the two halves of a picture, in both directions."""

import io
import pickle

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures
from unialign_jax.data.sources import subjects200k

_GRADES = ("compositeStructure", "objectConsistency", "imageQuality")
_COLUMNS = {
  "image": hf.IMAGE,
  "collection": hf.STRING,
  "quality_assessment": pa.struct([(name, pa.int64()) for name in _GRADES]),
  "description": pa.struct(
    [
      ("item", hf.STRING),
      ("description_0", hf.STRING),
      ("description_1", hf.STRING),
      ("category", hf.STRING),
      ("description_valid", pa.bool_()),
    ]
  ),
}
_LEFT, _RIGHT, _PADDING = 60, 180, 255


def _both(side=512, form="PNG", *, padding=8, end=None, top=None):
  """A left and a right picture with padding between and around.

  Args:
    side: Of a picture.
    form: Of the file.
    padding: Between the pictures and left of them.
    end: Right of them; none: the same.
    top: Above and below; none: the same.
  """
  end = padding if end is None else end
  top = padding if top is None else top
  whole = np.full((side + 2 * top, 2 * (side + padding) + end), _PADDING, "u1")
  whole[top : top + side, padding : padding + side] = _LEFT
  whole[top : top + side, -end - side : len(whole[0]) - end] = _RIGHT
  return _file(whole, form)


def _tiles(side=512, form="PNG", *, padding=8):
  """Two pictures, each with padding all around."""
  tile = np.full((side, side), 0, "u1")
  tiles = [
    np.pad(tile + np.uint8(shade), padding, constant_values=_PADDING)
    for shade in (_LEFT, _RIGHT)
  ]
  return _file(np.concatenate(tiles, axis=1), form)


def _file(whole, form):
  stream = io.BytesIO()
  options = {"lossless": True} if form == "WEBP" else {}
  Image.fromarray(whole).convert("RGB").save(stream, form, **options)
  return stream.getvalue()


def _row(number, image=None, **fields):
  return {
    "image": hf.image(image or _both()),
    "collection": "collection_2",
    "quality_assessment": dict.fromkeys(_GRADES, 5),
    "description": {
      "item": "a cup",
      "description_0": f" left {number}\n",
      "description_1": f"right {number}",
      "category": "tableware",
      "description_valid": True,
    },
  } | fields


def _write(root, rows, columns=_COLUMNS, number=0):
  name = f"train-{number:05d}-of-00002.parquet"
  hf.write(root / "data" / name, columns, rows)


def _shades(picture):
  return np.unique(pictures.decode(picture)).tolist()


def test_each_picture_is_made_from_the_other(tmp_path):
  image = _both(form="JPEG")
  _write(tmp_path, [_row(0, image)])
  source = subjects200k.open_source(tmp_path)
  left = base.Picture(image, (8, 8, 520, 520))
  right = base.Picture(image, (528, 8, 1040, 520))
  assert source[0] == base.Raw(
    key="train-00000-of-00002/0/0",
    task="personalise",
    source="subjects200k/collection_2",
    license="apache-2.0",
    caption_source="dataset",
    target=left,
    conditions=(right,),
    instruction="left 0",
    caption="left 0",
    scores=dict.fromkeys(_GRADES, 5.0),
  )
  assert source[1].key == "train-00000-of-00002/0/1"
  assert (source[1].target, source[1].conditions) == (right, (left,))
  assert source[1].instruction == source[1].caption == "right 0"
  assert len(source) == 2


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("side", [512, 1024])
@pytest.mark.parametrize(
  ("draw", "options"),
  [
    (_both, {"padding": 8}),
    (_both, {"padding": 16}),
    (_both, {"padding": 16, "top": 0}),
    (_both, {"padding": 0}),
    (_tiles, {"padding": 8}),
    (_tiles, {"padding": 16}),
  ],
)
def test_boxes_hold_one_picture_and_no_padding(
  tmp_path, form, side, draw, options
):
  _write(tmp_path, [_row(0, draw(side, form, **options))])
  for item, shades in zip(
    subjects200k.open_source(tmp_path), [(_LEFT, _RIGHT), (_RIGHT, _LEFT)]
  ):
    for picture, shade in zip((item.target, *item.conditions), shades):
      assert pictures.decode(picture).shape == (side, side, 3)
      assert _shades(picture) == [shade]


@pytest.mark.parametrize(
  "image",
  [
    _both(256),  # too small
    _both(padding=33, top=0),
    _both(padding=8, top=33),
    _both(end=9),  # no third
    _tiles(padding=33),
    _file(np.zeros((528, 1000), "u1"), "PNG"),  # narrower than two
  ],
)
def test_other_sizes_are_rejected_not_guessed(tmp_path, image):
  _write(tmp_path, [_row(0, image)])
  assert [item.reason for item in subjects200k.open_source(tmp_path)] == [
    "unexpected size"
  ] * 2


def test_rows_that_lack_something_are_rejected(tmp_path):
  texts = {"description_0": None, "description_1": "right"}
  rows = [
    _row(0, description=texts),
    _row(1, description={"description_0": "left", "description_1": "  "}),
    _row(2, description=None),
    _row(3) | {"image": None},
    _row(4) | {"image": hf.image(None)},
    _row(5, b"no picture"),
  ]
  _write(tmp_path, rows)
  reasons = [
    getattr(item, "reason", "") for item in subjects200k.open_source(tmp_path)
  ]
  assert reasons == [
    *("empty caption", ""),
    *("", "empty caption"),
    *["empty caption"] * 2,
    *["null image"] * 4,
    *["undecodable image"] * 2,
  ]


@pytest.mark.parametrize("name", _GRADES)
@pytest.mark.parametrize("grade", [4, None])
def test_each_grade_counts(tmp_path, name, grade):
  grades = dict.fromkeys(_GRADES, 5) | {name: grade}
  _write(tmp_path, [_row(0, quality_assessment=grades), _row(1)])
  source = subjects200k.open_source(tmp_path)
  assert [item.reason for item in list(source)[:2]] == [f"filtered: {name}"] * 2
  assert source[0].detail == f"got {grade and 4.0}, expected at least 5"
  assert isinstance(source[2], base.Raw)


def test_pairs_without_grades_are_there_when_none_are_asked_for(tmp_path):
  grades = {"compositeStructure": 0, "objectConsistency": None}
  rows = [
    _row(0, quality_assessment=None),
    _row(1, quality_assessment=grades),
  ]
  _write(tmp_path, rows)
  assert all(
    item.reason == "filtered: compositeStructure"
    for item in subjects200k.open_source(tmp_path)
  )
  source = subjects200k.open_source(tmp_path, min_quality=0)
  assert [item.scores for item in source] == [
    *[{}] * 2,
    *[{"compositeStructure": 0.0}] * 2,
  ]


def test_collections_over_files_and_row_groups(tmp_path):
  _write(tmp_path, [_row(i) for i in range(3)])
  rows = [_row(3, collection="collection_1"), _row(4), _row(5, collection=None)]
  _write(tmp_path, rows, number=1)
  captions = [item.caption for item in subjects200k.open_source(tmp_path)]
  assert captions == [
    f"{side} {i}" for i in range(6) for side in ("left", "right")
  ]
  source = subjects200k.open_source(tmp_path, collections="collection_1")
  assert [(item.key, item.source, item.caption) for item in source] == [
    ("train-00001-of-00002/0/0", "subjects200k/collection_1", "left 3"),
    ("train-00001-of-00002/0/1", "subjects200k/collection_1", "right 3"),
  ]
  assert subjects200k.open_source(tmp_path)[11].source == "subjects200k/unknown"
  with pytest.raises(base.SourceError, match=r"collections: got \['no'\]"):
    subjects200k.open_source(tmp_path, collections=["no", "collection_1"])


def test_missing_columns_are_named(tmp_path):
  columns = {k: v for k, v in _COLUMNS.items() if k != "collection"}
  _write(tmp_path, [_row(0)], columns)
  assert subjects200k.open_source(tmp_path)[0].source == "subjects200k/unknown"
  for name in ("image", "description", "quality_assessment"):
    fewer = {k: v for k, v in columns.items() if k != name}
    _write(tmp_path, [_row(0)], fewer)
    with pytest.raises(base.SourceError, match=rf"expected \['{name}'\]"):
      subjects200k.open_source(tmp_path)


def test_only_the_training_files_are_read(tmp_path):
  written.file(tmp_path / "data" / "other.parquet", b"")
  with pytest.raises(base.SourceError, match="expected parquet files"):
    subjects200k.open_source(tmp_path)


def test_a_copy_in_another_process_gives_the_same(tmp_path):
  _write(tmp_path, [_row(i) for i in range(3)])
  source = subjects200k.open_source(tmp_path, min_quality=4)
  first = source[0]
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == first
  assert list(copy) == list(source)
