"""UniWorld-V1: list file, conversations, sub-sets known by their names."""

import pickle

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import uniworld


def _row(image, human, gpt="Here it is.<gen_image>"):
  turns = [{"from": "human", "value": human}, {"from": "gpt", "value": gpt}]
  return {"image": image, "conversations": turns}


def _subset(root, name, rows, pictures, packed=False):
  """Writes a sub-set and its line."""
  written.json_list(root / f"json/{name}.json", rows)
  home = root / "data" / name
  if packed:
    written.tar(home / f"{name}.tar", pictures)
  else:
    for path, data in pictures.items():
      written.file(home / path, data)
  home.mkdir(parents=True, exist_ok=True)
  with (root / "data.txt").open("a") as file:
    file.write(f"data/{name},json/{name}.json,false\n\n")


_LARGE = (1100, 1024)


@pytest.fixture
def edits(tmp_path):
  pair = ["in/0.png", "out/0.png"]
  later = _row(pair, "<image>\nFirst.", "Done.")
  later["conversations"] += _row(pair, "Now\nthe sky.")["conversations"]
  _subset(
    tmp_path,
    "imgedit",
    [
      _row(pair, "<image>\nAdd a boat."),
      later,
      _row(["in/0.png", "in/1.png", "out/0.png"], "<image><image>Join them."),
      _row(pair, "<image>\n"),
      _row(["in/9.png", "out/0.png"], "<image>\nLost."),
      _row([None, "out/0.png"], "<image>\nNull."),
      _row(pair, "Without a tag."),
      _row(pair, "<image>Tag in the middle.", "A <gen_image> here."),
      _row(pair, "<image><gen_image>Tag of the human.", "Done."),
      {"conversations": _row(pair, "<image>\nText only.")["conversations"]},
      {"image": pair},
      _row(pair, "Two targets.", "<gen_image><gen_image>"),
      {"image": pair, "conversations": [{"from": "human"}]},
    ],
    {
      "in/0.png": written.picture(0, "PNG"),
      "in/1.png": written.picture(1, "PNG"),
      "out/0.png": written.picture(2, "PNG"),
    },
    packed=True,
  )
  _subset(
    tmp_path,
    "SEED-Data-Edit-Part2-3-12k",
    [
      _row(["0.jpg", "1.jpg"], "<image>\nSeed."),
      _row(["0.jpg", "2.jpg"], "<image>S."),
    ],
    {
      "0.jpg": written.picture(0, size=_LARGE),
      "1.jpg": written.picture(1, size=_LARGE),
      "2.jpg": written.picture(2, size=(2000, 1023)),
    },
  )
  _subset(
    tmp_path, "Ghibli-36k", [_row(["0", "9"], "<image>G.")], {"7.jpg": b"7"}
  )
  return tmp_path


def test_edits(edits):
  items = list(uniworld.open_source(edits))
  assert items[0] == base.Raw(
    key="imgedit/imgedit/0",
    task="edit",
    source="uniworld/imgedit",
    license="mit",
    caption_source="",
    target=base.Picture(written.picture(2, "PNG")),
    conditions=(base.Picture(written.picture(0, "PNG")),),
    instruction="Add a boat.",
  )
  assert [(i.key[16:], i.reason) for i in items[2:12]] == [
    ("3", "empty instruction"),
    ("4", "missing file"),
    ("5", "null image"),
    ("6", "image tags differ"),
    ("7", "image tags differ"),
    ("8", "image tags differ"),
    ("9", "null image"),
    ("10", "missing key"),
    ("11", "image tags differ"),
    ("12", "damaged conversation"),
  ]
  assert items[1].instruction == "Now the sky."


def test_large_subsets_are_filtered_and_keep_their_license(edits):
  kept, small, missing = list(uniworld.open_source(edits))[-3:]
  assert (kept.instruction, kept.license) == ("Seed.", "cc-by-nc-4.0")
  assert small.reason == "filtered: min_side"
  assert (missing.source, missing.reason) == (
    "uniworld/Ghibli-36k",
    "missing file",
  )
  small = uniworld.open_source(edits, min_side=0)[-2]
  assert small.target.data == written.picture(2, size=(2000, 1023))


def test_references_and_subsets(edits):
  item = uniworld.open_source(edits, references=2)[0]
  assert [picture.data for picture in item.conditions] == [
    written.picture(0, "PNG"),
    written.picture(1, "PNG"),
  ]
  assert (item.task, item.instruction) == ("edit", "Join them.")
  source = uniworld.open_source(edits, subsets="Ghibli*, SEED*")
  assert {item.source for item in source} == {
    "uniworld/Ghibli-36k",
    "uniworld/SEED-Data-Edit-Part2-3-12k",
  }


def test_text_to_image(tmp_path):
  pictures = {"0.jpg": written.picture(0)}
  rows = [_row("0.jpg", "A\ncat."), _row(["0.jpg"], " "), _row(["0.jpg"], "B")]
  _subset(tmp_path, "BLIP3o-60k", rows, pictures)
  first, empty, last = uniworld.open_source(tmp_path, part="text_to_image")
  assert first == base.Raw(
    key="BLIP3o-60k/BLIP3o-60k/0",
    task="text_to_image",
    source="uniworld/BLIP3o-60k",
    license="mit",
    caption_source="dataset",
    target=base.Picture(written.picture(0)),
    instruction="A cat.",
    caption="A cat.",
  )
  assert (empty.reason, last.caption) == ("empty caption", "B")


@pytest.fixture
def maps(tmp_path):
  numbered = {f"{i:08}.jpg": written.picture(i) for i in range(2)}
  _subset(
    tmp_path,
    "coco2017_caption_canny-236k",
    [
      _row(["00000000.jpg", "00000001.jpg"], "Draw the edges. <image>"),
      _row(["00000001.jpg", "00000000.jpg"], "<image>\nPaint it."),
      _row(["a.jpg", "b.jpg"], "<image>\nUnnumbered."),
    ],
    numbered | {"a.jpg": written.picture(3), "b.jpg": written.picture(4)},
  )
  _subset(
    tmp_path,
    "coco2017_seg_box-448k",
    [
      _row(["2.jpg", "drawn/bbox/2_cat.jpg"], "<image>\nFind cats."),
      _row(["2.jpg", "drawn/seg_opacity_0.8/2_cat.jpg"], "<image>\nMark cats."),
      _row(["2.jpg", "2.jpg"], "<image>\nWhich?"),
    ],
    {
      "2.jpg": written.picture(5),
      "drawn/bbox/2_cat.jpg": written.picture(6),
      "drawn/seg_opacity_0.8/2_cat.jpg": written.picture(7),
    },
  )
  pair = {"0.jpg": written.picture(8), "p.jpg": written.picture(9)}
  rows = [_row(["0.jpg", "p.jpg"], "<image>\nPose.")]
  _subset(tmp_path, "viton_hd-11k", rows, pair)
  rows = [_row(["0.jpg", "p.jpg"], "<image>\nThe shirt alone.")]
  _subset(tmp_path, "viton_hd-23k", rows, pair)
  return tmp_path


def test_perception(maps):
  items = list(uniworld.open_source(maps, part="perception"))
  assert {item.task for item in items if isinstance(item, base.Raw)} == {
    "perception"
  }
  named = [
    (item.source.removeprefix("uniworld/"), item.map_style, item.instruction)
    for item in items
    if isinstance(item, base.Raw)
  ]
  canny, drawn = "coco2017_caption_canny-236k", "coco2017_seg_box-448k"
  assert named == [
    (f"{canny}/photo_to_map", "canny", "Draw the edges."),
    (f"{canny}/map_to_photo", "canny", "Paint it."),
    (canny, "canny", "Unnumbered."),
    (f"{drawn}/photo_to_map", "boxes_on_photo", "Find cats."),
    (f"{drawn}/photo_to_map", "segments_on_photo", "Mark cats."),
    ("viton_hd-11k/photo_to_map", "pose", "Pose."),
  ]
  assert items[1].target.data == written.picture(0)
  assert items[1].conditions[0].data == written.picture(1)
  assert [i.reason for i in items if isinstance(i, base.Rejected)] == [
    "unknown map style"
  ]


@pytest.mark.parametrize(
  ("direction", "instruction", "count"),
  [("photo_to_map", "Draw the edges.", 6), ("map_to_photo", "Paint it.", 2)],
)
def test_one_direction(maps, direction, instruction, count):
  source = uniworld.open_source(maps, part="perception", direction=direction)
  assert len(source) == count
  assert source[0].instruction == instruction
  assert source[1].reason == "unknown direction"


def test_extract_is_not_framed_as_an_edit(maps):
  (item,) = uniworld.open_source(maps, part="extract")
  assert (item.task, item.source) == ("personalise", "uniworld/viton_hd-23k")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"part": "edits"}, "got part='edits'"),
    ({"part": "text_to_image", "references": 1}, "got references=1"),
    ({"references": 0}, "got references=0"),
    ({"references": 5}, "got references=5"),
    ({"direction": "up"}, "got direction='up'"),
    ({"part": "text_to_image"}, "got no list of part='text_to_image'"),
    ({"subsets": "Omni*"}, "got no list of part='edit'"),
    ({"list_file": "list.txt"}, "got no such file"),
  ],
)
def test_bad_options(edits, options, message):
  with pytest.raises(base.SourceError, match=message):
    uniworld.open_source(edits, **options)


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("data/imgedit,json/imgedit.json", "line 1: got"),
    ("data/imgedit,json/imgedit.json,yes", "line 1: got"),
    ("data/mine,json/imgedit.json,true", "got picture folder 'mine'"),
    ("data/imgedit,json/no.json,true", "got no such file"),
  ],
)
def test_a_bad_line(edits, line, message):
  (edits / "data.txt").write_text(line)
  with pytest.raises(base.SourceError, match=message):
    uniworld.open_source(edits)


def test_two_lists_of_one_name_are_refused(edits):
  with (edits / "data.txt").open("a") as file:
    file.write("data/imgedit,json/imgedit.json,TRUE\n")
  with pytest.raises(base.SourceError, match="imgedit/imgedit"):
    uniworld.open_source(edits)


def test_a_list_cut_off_is_refused(edits):
  path = edits / "json/imgedit.json"
  written.cut(path, path.stat().st_size - 9)
  with pytest.raises(base.SourceError, match="damaged or cut off"):
    uniworld.open_source(edits)


def test_packed_pictures_are_refused_with_the_command(tmp_path):
  _subset(tmp_path, "OmniEdit-368k", [_row(["a", "b"], "<image>E")], {})
  written.file(tmp_path / "data/OmniEdit-368k/part.tar.gz.part-aa", b"")
  with pytest.raises(base.SourceError, match=r"gzip -dc"):
    uniworld.open_source(tmp_path)


def test_a_copy_gives_the_same(edits):
  source = uniworld.open_source(edits)
  items = list(source)
  assert list(pickle.loads(pickle.dumps(source))) == items
