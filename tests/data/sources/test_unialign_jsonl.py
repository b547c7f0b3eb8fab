"""The authors' JSON lines: three kinds, and damaged ones."""

import pickle

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import unialign_jsonl

T2I = {"image": ["p/1.jpg"], "conversations": [{"value": " A cat. \n"}]}
EDIT = {
  "image": ["p/1.jpg", "p/2.png"],
  "conversations": [{"from": "human", "value": "A red cat."}],
  "instruction": "Make it red.",
}
COMPOSITION = {
  "original_images": ["p/1.jpg", "p/2.png", "p/3.webp"],
  "generated_images": ["p/4.jpg"],
  "caption": "All of them.",
  "edit_prompt": ' \\"Put them together.\\" ',
}
KINDS = (T2I, EDIT, COMPOSITION)


@pytest.fixture
def root(tmp_path):
  for name, form in (
    ("1.jpg", "JPEG"),
    ("2.png", "PNG"),
    ("3.webp", "WEBP"),
    ("4.jpg", "JPEG"),
  ):
    shade = int(name[0]) * 20
    written.file(tmp_path / "p" / name, written.picture(shade, form))
  return tmp_path


def items(root, **options):
  source = unialign_jsonl.open_source(root, **options)
  return [source[i] for i in range(len(source))]


def read(root, *names):
  return tuple(base.Picture((root / name).read_bytes()) for name in names)


def test_the_three_kinds_in_one_file(root):
  written.json_lines(root / "all.jsonl", [*KINDS, T2I])
  first, second = items(root)
  assert first == base.Raw(
    key="all/1",
    task="text_to_image",
    source="unialign_jsonl/t2i",
    license="not stated",
    caption_source="dataset",
    target=read(root, "p/1.jpg")[0],
    instruction="A cat.",
    caption="A cat.",
  )
  assert second.key == "all/4"

  (edit,) = items(root, kind="edit", license="cc-by-4.0")
  assert edit == base.Raw(
    key="all/2",
    task="edit",
    source="unialign_jsonl/edit",
    license="cc-by-4.0",
    caption_source="dataset",
    target=read(root, "p/2.png")[0],
    conditions=read(root, "p/1.jpg"),
    instruction="Make it red.",
    caption="A red cat.",
  )

  (composition,) = items(root, kind="composition")
  assert composition == base.Raw(
    key="all/3",
    task="personalise_multi",
    source="unialign_jsonl/composition",
    license="not stated",
    caption_source="dataset",
    target=read(root, "p/4.jpg")[0],
    conditions=read(root, "p/1.jpg", "p/2.png", "p/3.webp"),
    instruction="Put them together.",
    caption="All of them.",
  )


@pytest.mark.parametrize("references", (1, 2, 4))
def test_compositions_by_their_number_of_references(root, references):
  rows = [
    COMPOSITION | {"original_images": ["p/1.jpg"] * n} for n in (1, 2, 3, 4)
  ]
  written.json_lines(root / "all.jsonl", rows)
  (item,) = items(root, kind="composition", references=references)
  assert len(item.conditions) == references
  one = references == 1
  assert item.task == ("personalise" if one else "personalise_multi")


REJECTED = {
  "t2i": [
    (T2I | {"image": ["p/9.jpg"]}, "missing file"),
    (T2I | {"image": []}, "null image"),
    (T2I | {"image": [None]}, "null image"),
    (T2I | {"image": [["p/1.jpg"]]}, "null image"),
    (T2I | {"conversations": []}, "empty caption"),
    (T2I | {"conversations": [{"value": "  "}]}, "empty caption"),
    (T2I | {"conversations": ["A cat."]}, "empty caption"),
    ({"id": 3}, "missing key"),
  ],
  "edit": [
    (EDIT | {"image": ["p/1.jpg"]}, "wrong number of pictures"),
    (EDIT | {"image": ["p/1.jpg"] * 3}, "wrong number of pictures"),
    (EDIT | {"instruction": ""}, "empty instruction"),
    (T2I | {"image": EDIT["image"]}, "empty instruction"),
    (EDIT | {"conversations": None}, "empty caption"),
  ],
  "composition": [
    (COMPOSITION | {"edit_prompt": ' "" '}, "empty instruction"),
    (COMPOSITION | {"caption": None}, "empty caption"),
    (COMPOSITION | {"generated_images": []}, "null image"),
    (
      COMPOSITION | {"generated_images": ["p/1.jpg", "p/4.jpg"]},
      "wrong number of pictures",
    ),
  ],
}


@pytest.mark.parametrize("kind", REJECTED)
def test_rejected_lines(root, kind):
  rows, reasons = zip(*REJECTED[kind])
  written.json_lines(root / "bad.jsonl", rows)
  found = items(root, kind=kind)
  assert [item.reason for item in found] == list(reasons)
  assert [item.key for item in found] == [
    f"bad/{number}" for number in range(1, len(rows) + 1)
  ]


@pytest.mark.parametrize("kind", unialign_jsonl.KINDS)
def test_damaged_lines_are_counted_whatever_was_asked_for(root, kind):
  written.json_lines(root / "a.jsonl", KINDS)
  good = (root / "a.jsonl").read_bytes()
  data = b"\xef\xbb\xbf" + good.replace(b"\n", b"\r\n") + b'\n{"image": ["p\n'
  written.file(root / "a.jsonl", data + b'{"image": "\xff"}\n[1]')
  found = items(root, kind=kind)
  assert isinstance(found[0], base.Raw)
  assert [item.reason for item in found[1:]] == ["damaged row"] * 3
  assert [item.key for item in found[1:]] == ["a/5", "a/6", "a/7"]
  assert "line 5" in found[1].detail


def test_pictures_elsewhere_in_tars_or_by_absolute_path(root, tmp_path):
  images = tmp_path / "images"
  written.tar(images / "x.tar", {"q/ä.jpg": written.picture(7)})
  written.file(images / "p.jpg", written.picture(8))
  rows = [
    T2I | {"image": ["q/ä.jpg"]},
    T2I | {"image": [f"{images}/p.jpg"]},
    T2I | {"image": f"{images}/p.jpg"},
    T2I | {"image": [f"{root}/p/1.jpg"]},
  ]
  written.json_lines(root / "one.jsonl", rows)
  found = items(root / "one.jsonl", images=f"{images}/")
  assert [item.target.data for item in found[:3]] == [
    written.picture(shade) for shade in (7, 8, 8)
  ]
  assert found[3].reason == "missing file"  # not in the folder of pictures


def test_several_files_have_keys_of_their_own(root):
  for name in ("x/a.jsonl", "y/a.jsonl", "b.jsonl"):
    written.json_lines(root / name, [T2I])
  keys = [item.key for item in items(root)]
  assert len(set(keys)) == 3


def test_options_that_there_are_not(root):
  written.json_lines(root / "a.jsonl", KINDS)
  for options, message in (
    ({"kind": "video"}, r"kind='video'.*'composition'"),
    ({"kind": "composition", "references": 5}, "references=5.*1 to 4"),
    ({"kind": "composition", "references": 2}, "no row of the kind"),
  ):
    with pytest.raises(base.SourceError, match=message):
      unialign_jsonl.open_source(root, **options)
  with pytest.raises(base.SourceError, match=r"no \.jsonl file"):
    unialign_jsonl.open_source(root / "p")


def test_a_copy_in_another_process_gives_the_same(root):
  written.json_lines(root / "a.jsonl", KINDS)
  source = unialign_jsonl.open_source(root, kind="edit")
  assert source[0].task == "edit"
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == source[0]
