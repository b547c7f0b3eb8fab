"""ShareGPT-4o-Image: JSON lists, pictures in tars or in trees."""

import pickle
import tarfile

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import sharegpt4o_image


@pytest.fixture(params=["tars", "trees"])
def root(tmp_path, request):
  written.json_list(
    tmp_path / "text_to_image.json",
    [
      {"input_prompt": " A fox. ", "output_image": "image/t2i_0.png"},
      {"input_prompt": "", "output_image": "image/t2i_1.png"},
      {"input_prompt": "Lost.", "output_image": "image/t2i_9.png"},
      {"output_image": "image/t2i_1.png"},
      {"input_prompt": "Of the second tar.", "output_image": "image/t2i_1.png"},
    ],
  )
  edit = {"input_prompt": "Make it red.", "output_image": "image/v2v_0.png"}
  written.json_list(
    tmp_path / "text_and_image_to_image.json",
    [
      edit | {"input_image": ["image/v2v_1.png"]},
      edit | {"input_image": ["image/v2v_1.png", "image/t2i_0.png"]},
      edit | {"input_image": ["image/v2v_9.png"]},
      edit | {"input_image": []},
      edit | {"input_image": [None]},
      edit | {"input_image": ["image/v2v_1.png"], "input_prompt": None},
      edit | {"input_image": ["image/v2v_1.png"], "output_image": None},
      edit,
    ],
  )
  pictures = {
    "text_to_image_part_0": {"image/t2i_0.png": written.picture(0, "PNG")},
    "text_to_image_part_1": {"image/t2i_1.png": written.picture(1, "PNG")},
    "text_and_image_to_image_part_0": {
      "image/v2v_0.png": written.picture(2, "PNG"),
      "image/v2v_1.png": written.picture(3, "PNG"),
    },
  }
  for name, members in pictures.items():
    if request.param == "tars":
      written.tar(tmp_path / f"{name}.tar", members)
      continue
    for path, data in members.items():
      written.file(tmp_path / path, data)
  return tmp_path


def test_text_to_image(root):
  items = list(sharegpt4o_image.open_source(root))
  assert items[0] == base.Raw(
    key="text_to_image/0",
    task="text_to_image",
    source="sharegpt4o_image/text_to_image",
    license="not stated",
    caption_source="dataset",
    target=base.Picture(written.picture(0, "PNG")),
    instruction="A fox.",
    caption="A fox.",
  )
  assert items[4].target.data == written.picture(1, "PNG")
  assert [item.reason for item in items[1:4]] == [
    "empty caption",
    "missing file",
    "missing key",
  ]
  assert items[2].detail == "image/t2i_9.png"


def test_edits_of_one_input(root):
  items = list(sharegpt4o_image.open_source(root, part="edit"))
  assert items[0] == base.Raw(
    key="text_and_image_to_image/0",
    task="edit",
    source="sharegpt4o_image/edit",
    license="not stated",
    caption_source="",
    target=base.Picture(written.picture(2, "PNG")),
    conditions=(base.Picture(written.picture(3, "PNG")),),
    instruction="Make it red.",
  )
  assert [(item.key[-1], item.reason) for item in items[1:]] == [
    ("2", "missing file"),
    ("3", "null image"),
    ("4", "null image"),
    ("5", "empty instruction"),
    ("6", "null image"),
    ("7", "missing key"),
  ]


def test_edits_of_two_inputs(root):
  items = list(sharegpt4o_image.open_source(root, part="edit", references=2))
  assert [picture.data for picture in items[0].conditions] == [
    written.picture(3, "PNG"),
    written.picture(0, "PNG"),
  ]
  # Rows whose number of inputs is not known are in every group.
  assert [item.reason for item in items[1:]] == ["null image", "missing key"]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"part": "edits"}, "got part='edits'"),
    ({"part": "edit", "references": 0}, "got references=0"),
    ({"part": "edit", "references": 5}, "got references=5"),
  ],
)
def test_bad_options(tmp_path, options, message):
  with pytest.raises(base.SourceError, match=message):
    sharegpt4o_image.open_source(tmp_path, **options)


def test_no_rows_of_the_kind(tmp_path):
  written.json_list(
    tmp_path / "text_and_image_to_image.json",
    [{"input_prompt": "a", "output_image": "b", "input_image": ["c"]}],
  )
  written.file(tmp_path / "c.png", b"")
  with pytest.raises(base.SourceError, match="no row of the kind asked for"):
    sharegpt4o_image.open_source(tmp_path, part="edit", references=3)


def test_a_truncated_tar_gives_what_is_whole(tmp_path):
  rows = [
    {"input_prompt": "a", "output_image": "image/0.png"},
    {"input_prompt": "b", "output_image": "image/1.png"},
  ]
  written.json_list(tmp_path / "text_to_image.json", rows)
  path = tmp_path / "text_to_image_part_0.tar"
  pictures = [written.picture(i, "PNG", (99, 99)) for i in range(2)]
  written.tar(path, {f"image/{i}.png": pictures[i] for i in range(2)})
  with tarfile.open(path) as archive:
    start = archive.getmember("image/1.png").offset_data
  written.cut(path, start + 20)
  whole, lost = sharegpt4o_image.open_source(tmp_path)
  assert whole.target.data == pictures[0]
  assert (lost.reason, lost.detail) == ("missing file", "image/1.png")


def test_packed_pictures_are_refused_with_the_command(tmp_path):
  written.json_list(tmp_path / "text_to_image.json", [{}])
  written.file(tmp_path / "text_to_image_part_0.tar.gz", b"")
  with pytest.raises(base.SourceError, match="gzip -dc"):
    sharegpt4o_image.open_source(tmp_path)


@pytest.mark.parametrize("part", ["text_to_image", "edit"])
def test_a_copy_gives_the_same(root, part):
  source = sharegpt4o_image.open_source(root, part=part)
  items = list(source)
  assert list(pickle.loads(pickle.dumps(source))) == items
