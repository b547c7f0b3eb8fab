"""tfds data sets: features by path, stored bytes, what does not fit."""

import io
import pickle
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures
from unialign_jax.data.sources import tfds_source

JPEG = written.picture(40)
PNG = written.picture(80, "PNG")
NULL = written.picture(0, "PNG", size=(1, 1))  # as tfds converts null pictures
PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


class TinyPairs(tfds.core.GeneratorBasedBuilder):
  """Four records with every form of feature that a source can have."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    features = tfds.features
    jpeg = features.Image(shape=(None, None, 3), encoding_format="jpeg")
    return tfds.core.DatasetInfo(
      builder=self,
      license="cc-by-4.0\n",
      features=features.FeaturesDict(
        {
          "image": jpeg,
          "views": features.Sequence(jpeg),
          "deep": {"er": {"png": features.Image(), "text": features.Text()}},
          "pixels": features.Tensor(shape=(4, 5, 3), dtype=np.uint8),
          "grey": features.Tensor(shape=(4, 5, 1), dtype=np.uint8),
          "captions": features.Sequence(
            {"text": features.Text(), "id": np.int64}
          ),
          "label": features.ClassLabel(names=["cat", "big dog"]),
          "number": np.int64,
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {
      "train": self._generate_examples(4),
      "test": self._generate_examples(1),
    }

  def _generate_examples(self, count):
    for i in range(count):
      # Record 3 has a null picture and a text that is not UTF-8.
      png, text = (NULL, b"\xff") if i == 3 else (PNG, f"Dö {i}")
      yield (
        i,
        {
          "image": io.BytesIO(JPEG),
          "views": [io.BytesIO(written.picture(k)) for k in range(i)],
          "deep": {"er": {"png": io.BytesIO(png), "text": text}},
          "pixels": PIXELS + np.uint8(i),
          "grey": PIXELS[..., :1],
          "captions": [
            {"text": f" {i}{c}", "id": 0} for c in ("abcdefgh" if i else "")
          ],
          "label": i % 2,
          "number": i,
        },
      )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  path = tmp_path_factory.mktemp("tfds")
  TinyPairs(data_dir=path, file_format="array_record").download_and_prepare()
  return path


@pytest.fixture
def root(data_dir):
  return data_dir / "tiny_pairs" / "1.0.0"


def items(root, **options):
  """By "number", since tfds shuffles records when it writes them."""
  source = tfds_source.open_source(root, **options)
  found = [source[i] for i in range(len(source))]
  with pytest.raises(IndexError):
    source[len(source)]
  numbers = [record["number"] for record in source._records]
  return dict(zip(numbers, found))


def test_text_to_image_keeps_the_stored_bytes(root):
  found = items(root, caption_feature="deep/er/text")
  assert sorted(found) == [0, 1, 2, 3]
  key = found[1].key
  assert found[1] == base.Raw(
    key=key,
    task="text_to_image",
    source="tfds/tiny_pairs/1.0.0",
    license="cc-by-4.0",
    caption_source="dataset",
    target=base.Picture(JPEG),
    instruction="Dö 1",
    caption="Dö 1",
  )
  assert key.startswith("train/0000000")
  assert len({item.key for item in found.values()}) == 4
  assert found[3].reason == "not UTF-8"
  assert "tensorflow" not in sys.modules


def test_without_captions(root):
  found = items(root, license="mine")
  assert {(i.caption, i.caption_source, i.license) for i in found.values()} == {
    ("", "", "mine")
  }


def test_by_name_and_by_split(data_dir):
  found = items(data_dir, name="tiny_pairs", split="test")
  assert [item.key for item in found.values()] == ["test/00000000"]
  assert len(items(data_dir, name="tiny_pairs:1.0.0", split="train[:50%]")) == 2


def test_edits_from_nested_features(root):
  found = items(
    root,
    task="edit",
    conditions_feature="deep/er/png",
    instruction_feature="label",
    caption_feature="captions/text",
  )
  assert found[1].conditions == (base.Picture(PNG),)
  assert (found[1].instruction, found[1].caption) == ("big dog", "1a")
  assert found[2].instruction == "cat"
  assert found[0].reason == "empty caption"  # an empty sequence
  assert found[3].reason == "null image"


def test_a_sequence_of_conditions(root):
  options = {
    "task": "personalise_multi",
    "conditions_feature": "views, pixels",
    "instruction_feature": "label",
  }
  found = items(root, references=3, **options)
  assert [picture.data for picture in found[2].conditions[:2]] == [
    written.picture(0),
    written.picture(1),
  ]
  np.testing.assert_array_equal(
    pictures.decode(found[2].conditions[2]), PIXELS + 2
  )
  for number in (0, 1, 3):
    assert found[number].reason == "filtered: references"
  with pytest.raises(base.SourceError, match="'views' is a sequence"):
    items(root, **options)


def test_grey_pixels_as_a_target(root):
  found = items(root, image_feature="grey")
  decoded = pictures.decode(found[0].target)
  np.testing.assert_array_equal(decoded, np.repeat(PIXELS[..., :1], 3, -1))


def test_seeded_pick_is_by_key_and_seed(root):
  def picked(**options):
    found = items(root, caption_feature="captions/text", **options)
    return [found[number].caption for number in (1, 2, 3)]

  assert picked() == ["1a", "2a", "3a"]
  choices = [picked(pick="seeded", seed=seed) for seed in range(12)]
  assert picked(pick="seeded", seed=3) == choices[3]
  assert len({choice[0] for choice in choices}) >= 4  # of 8 texts
  assert any(len({text[1] for text in choice}) > 1 for choice in choices)


def test_understanding(root):
  found = items(
    root,
    task="understanding",
    question_feature="deep/er/text",
    caption_feature="label",
  )
  assert (found[1].question, found[1].caption) == ("Dö 1", "big dog")
  assert found[1].conditions == ()


@pytest.mark.parametrize(
  ("options", "message"),
  (
    ({"split": "dev"}, r"split='dev'.*'test', 'train'"),
    ({"image_feature": "picture"}, r"'picture'.*'deep/er/png'"),
    ({"image_feature": "deep/er"}, "expected an Image"),
    ({"image_feature": "number"}, "expected an Image"),
    ({"image_feature": "views"}, "one picture a record"),
    ({"caption_feature": "captions/title"}, "'captions/text'"),
    ({"caption_feature": "captions"}, "expected Text or ClassLabel"),
    ({"caption_feature": "number"}, "expected Text or ClassLabel"),
    ({"caption_feature": "image"}, "expected Text or ClassLabel"),
    ({"task": "video"}, "'understanding'"),
    ({"task": "edit"}, "needs.*'conditions_feature', 'instruction_feature'"),
    ({"conditions_feature": "image"}, "does not go with conditions_feature"),
    ({"question_feature": "label"}, "does not go with question_feature"),
    ({"pick": "last"}, "'first', 'seeded'"),
    ({"name": "no_such_pairs"}, "name='no_such_pairs'"),
    (
      {
        "task": "edit",
        "conditions_feature": "views",
        "instruction_feature": "label",
        "references": 5,
      },
      "at most 4",
    ),
  ),
)
def test_options_that_do_not_fit(root, options, message):
  with pytest.raises(base.SourceError, match=message):
    tfds_source.open_source(root, **options)


def test_not_prepared_or_without_random_access(root, data_dir, tmp_path):
  with pytest.raises(base.SourceError, match=r"without dataset_info.json"):
    tfds_source.open_source(data_dir)
  with pytest.raises(base.SourceError, match="tfds build tiny_pairs"):
    tfds_source.open_source(tmp_path, name="tiny_pairs")
  for file in root.iterdir():
    text = file.read_bytes()
    if file.name == "dataset_info.json":
      text = text.replace(b'"array_record"', b'"tfrecord"')
    (tmp_path / file.name.replace("array_record", "tfrecord")).write_bytes(text)
  with pytest.raises(base.SourceError, match="tfds convert_format"):
    tfds_source.open_source(tmp_path)


def test_a_copy_in_another_process_gives_the_same(root):
  source = tfds_source.open_source(root, caption_feature="label")
  data = pickle.dumps(source)
  assert JPEG not in data and len(data) < 2000  # no open files, no records
  copy = pickle.loads(data)
  assert [copy[i] for i in range(4)] == [source[i] for i in range(4)]
