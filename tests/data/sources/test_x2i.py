"""X2I: rows by their number of input pictures, tags as words."""

import pickle

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import x2i

_TAG = "<img><|image_{}|></img>".format


def _row(instruction, inputs, **output):
  return {
    "task_type": "subject_driven",
    "instruction": instruction,
    "input_images": inputs,
  } | output


@pytest.fixture
def root(tmp_path):
  written.json_lines(
    tmp_path / "retrieval-single2single.jsonl",
    [
      _row(f"The man of {_TAG(1)} cooks.", ["s/0.jpg"], output_image="s/1.jpg"),
      _row(f"{_TAG(1)} sleeps.", ["s/0.jpg"], output_images=["s/1.jpg"]),
      _row(f"{_TAG(2)} sleeps.", ["s/0.jpg"], output_image="s/1.jpg"),
      _row("He runs.", ["s/9.jpg"], output_image="s/1.jpg"),
      _row("He runs.", [None], output_image="s/1.jpg"),
      _row("", ["s/0.jpg"], output_image="s/1.jpg"),
      _row("Two.", ["s/0.jpg"], output_images=["s/0.jpg", "s/1.jpg"]),
      _row("None.", ["s/0.jpg"], output_images=[]),
      _row("None.", ["s/0.jpg"]),
      {"instruction": "No inputs.", "output_image": "s/1.jpg"},
    ],
  )
  written.json_lines(
    tmp_path / "web/two.jsonl",
    [
      _row(
        f"{_TAG(2)} with {_TAG(1)}",
        ["s/0.jpg", "d/0.jpg"],
        output_image="s/1.jpg",
      ),
      _row("A cat.", [], output_image="s/1.jpg"),
      _row(
        "Four.",
        ["s/0.jpg", "s/1.jpg", "d/0.jpg", "s/0.jpg"],
        output_image="s/1.jpg",
      ),
    ],
  )
  written.file(tmp_path / "s/0.jpg", written.picture(0))
  written.tar(tmp_path / "single.tar", {"s/1.jpg": written.picture(1)})
  written.tar(tmp_path / "double.tar", {"d/0.jpg": written.picture(2)})
  return tmp_path


def test_one_input(root):
  items = list(x2i.open_source(root))
  assert items[0] == base.Raw(
    key="retrieval-single2single/1",
    task="personalise",
    source="x2i/retrieval-single2single",
    license="apache-2.0",
    caption_source="",
    target=base.Picture(written.picture(1)),
    conditions=(base.Picture(written.picture(0)),),
    instruction="The man of image 1 cooks.",
  )
  assert items[1].instruction == "image 1 sleeps."
  assert items[1].target.data == written.picture(1)
  assert [(item.key[-2:], item.reason) for item in items[2:]] == [
    ("/3", "image tags differ"),
    ("/4", "missing file"),
    ("/5", "null image"),
    ("/6", "empty instruction"),
    ("/7", "several targets"),
    ("/8", "null image"),
    ("/9", "missing key"),
    ("10", "missing key"),
  ]


def test_more_inputs_keep_their_order(root):
  item = x2i.open_source(root, references=2)[1]
  assert (item.key, item.task) == ("web/two/1", "personalise_multi")
  assert item.instruction == "image 2 with image 1"
  assert [picture.data for picture in item.conditions] == [
    written.picture(0),
    written.picture(2),
  ]
  items = list(x2i.open_source(root, references=4))
  assert [len(i.conditions) for i in items if isinstance(i, base.Raw)] == [4]


def test_options(root):
  source = x2i.open_source(
    root, task="edit", slot="", manifests="retrieval-*.jsonl"
  )
  assert (source[0].task, source[0].instruction.split()) == (
    "edit",
    ["The", "man", "of", "cooks."],
  )
  (root / "pictures").mkdir()
  for name in ("s", "single.tar", "double.tar"):
    (root / name).rename(root / "pictures" / name)
  item = x2i.open_source(root, images="pictures")[0]
  assert item.conditions[0].data == written.picture(0)


def test_an_instruction_of_tags_alone_is_empty(tmp_path):
  written.json_lines(
    tmp_path / "a.jsonl", [_row(_TAG(1), ["0.jpg"], output_image="0.jpg")]
  )
  written.file(tmp_path / "0.jpg", written.picture(0))
  (item,) = x2i.open_source(tmp_path, slot="")
  assert item.reason == "empty instruction"


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"references": 0}, "got references=0"),
    ({"references": 5}, "got references=5"),
    ({"task": "subject"}, "got task='subject'"),
    ({"manifests": "*.json"}, r"got no files \*\.json"),
  ],
)
def test_bad_options(root, options, message):
  with pytest.raises(base.SourceError, match=message):
    x2i.open_source(root, **options)


def test_packed_pictures_are_refused_with_the_command(root):
  for path in [*root.glob("*.tar"), *root.glob("s/*")]:
    path.unlink()
  written.file(root / "single.tar.gz.aa", b"")
  with pytest.raises(base.SourceError, match=r"gzip -dc"):
    x2i.open_source(root)


def test_a_copy_gives_the_same(root):
  source = x2i.open_source(root)
  items = list(source)
  assert list(pickle.loads(pickle.dumps(source))) == items
