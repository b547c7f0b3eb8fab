"""Encoded items become framed samples, or rejections that can be counted."""

import dataclasses
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from tests.data.sources import written
from unialign_jax.data import sample as sample_lib
from unialign_jax.data.sources import base
from unialign_jax.data.sources import decoded

SIDE = 16
REJECTED = base.Rejected(key="r", source="test", reason="null image")


def png(width, height, left=0, right=255):
  """Two halves side by side."""
  pixels = np.full((height, width, 3), left, np.uint8)
  pixels[:, width // 2 :] = right
  stream = io.BytesIO()
  Image.fromarray(pixels).save(stream, "PNG")
  return base.Picture(stream.getvalue())


RAW = base.Raw(
  key="train-0/7",
  task="edit",
  source="test/edit",
  license="mit",
  caption_source="dataset",
  target=png(32, 16),
  conditions=(png(64, 32), png(32, 16)),
  instruction="make it so",
  caption="it is so",
  question="is it?",
  scores={"good": 1.0},
)


def view(*items, **options):
  return decoded.Decoded(items, side=SIDE, **options)


def changed(**changes):
  return view(dataclasses.replace(RAW, **changes))[0]


def test_fields_are_carried_over():
  source = view(RAW, REJECTED)
  sample = source[0]
  assert isinstance(sample, sample_lib.Sample)
  for field in (
    "key",
    "task",
    "source",
    "license",
    "caption_source",
    "instruction",
    "caption",
    "question",
  ):
    assert getattr(sample, field) == getattr(RAW, field)
  assert len(sample.cond_images) == 2
  for image in (sample.target_image, *sample.cond_images):
    assert image.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(image[:, [1, -2], 0], [[0, 255]] * SIDE)
  assert len(source) == 2 and source[1] is REJECTED


def test_the_policy_is_used():
  padded = view(RAW, policy="pad")[0].target_image
  assert padded[:4].min() == 255 and padded[4:12, 1].max() < 9
  with pytest.raises(ValueError, match="zoom"):
    view(RAW, policy="zoom")
  with pytest.raises(ValueError, match="side 0"):
    decoded.Decoded([], side=0)


@pytest.mark.parametrize("task", sample_lib.TASKS)
def test_only_edits_and_perception_share_a_frame(task):
  item = changed(task=task, conditions=(png(16, 40),))
  if task in ("edit", "perception"):
    assert item == base.Rejected(
      key=RAW.key,
      source=RAW.source,
      reason="aspect ratios differ",
      detail="condition 0 has 16 x 40 pixels, the target 32 x 16",
    )
  else:
    assert item.cond_images[0].shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("field", ["target", "conditions"])
def test_bad_pictures_are_rejected(field):
  jpeg = written.picture(9, size=(64, 64))
  bad = base.Picture(jpeg[: len(jpeg) // 2])
  value = bad if field == "target" else (RAW.conditions[0], bad)
  item = changed(**{field: value})
  assert (item.key, item.source) == (RAW.key, RAW.source)
  assert item.reason == "truncated picture"
  where = "target: " if field == "target" else "condition 1: "
  assert item.detail.startswith(where)


@pytest.mark.parametrize("caption", ["", " \n"])
def test_no_caption_tells_how_to_get_one(caption):
  item = changed(caption=caption, target=base.Picture(b"is not decoded"))
  assert item.reason == "no caption"
  assert "python -m unialign_jax.recaption" in item.detail


def test_too_many_conditions():
  item = changed(conditions=(png(32, 16),) * 5)
  assert item.reason == "too many condition pictures"
  assert "5" in item.detail


def test_box_is_cut_first():
  right = dataclasses.replace(RAW.target, box=(16, 0, 32, 16))
  item = changed(target=right, conditions=())
  assert item.target_image.min() == 255
  outside = dataclasses.replace(RAW.target, box=(16, 0, 33, 16))
  assert changed(target=outside).reason == "box outside"


def test_pickles():
  copy = pickle.loads(pickle.dumps(view(RAW)))
  np.testing.assert_array_equal(copy[0].target_image, view(RAW)[0].target_image)
