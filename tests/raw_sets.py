"""Small raw files of public formats, and the photographs as two of them."""

import json
import os
import pathlib
import shutil

import numpy as np
from PIL import Image

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.shapes import language
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes

PHOTOGRAPHS = os.environ.get("UNIALIGN_SEMGEN", "")
COUNT = 8  # samples of each made set
FORMS = ("JPEG", "PNG", "WEBP")


class Raw:
  """Pictures and texts for the made sets: Shapes scenes, as encoded files."""

  def __init__(self) -> None:
    self._rng = np.random.default_rng(0)
    self._count = 0

  def __call__(self) -> tuple[bytes, str]:
    scene = scenes.sample_scene(self._rng)
    form = FORMS[self._count % len(FORMS)]
    self._count += 1
    text = language.caption(scene, self._rng)
    return encoded(render.render(scene), form), text


def encoded(picture_HWC: np.ndarray, form: str = "PNG") -> bytes:
  stream = written.io.BytesIO()
  Image.fromarray(picture_HWC).save(stream, form)
  return stream.getvalue()


def photographs(root: pathlib.Path) -> None:
  """SemGen-Bench as a folder with metadata, and as the authors' edit lines."""
  source = pathlib.Path(PHOTOGRAPHS)
  shutil.copytree(source / "images", root / "photographs")
  captions, edits = [], []
  lines = (source / "semgen_bench.jsonl").read_text("utf-8").splitlines()
  for entry in map(json.loads, lines):
    name = pathlib.PurePosixPath(entry["image_path"]).name
    caption = entry["t2i_long"]
    captions.append({"file_name": name, "text": caption})
    edits.append(
      {
        "image": [f"photographs/{name}"] * 2,
        "conversations": [{"from": "human", "value": caption}],
        "instruction": entry["edit_complex"],
      }
    )
  written.json_lines(root / "photographs/metadata.jsonl", captions)
  written.json_lines(root / "photograph_edits/edits.jsonl", edits)
  (root / "photograph_edits/photographs").mkdir()
  for path in (root / "photographs").glob("*.jpg"):
    link = root / "photograph_edits/photographs" / path.name
    link.symlink_to(path)


def text_to_image_2m(root: pathlib.Path, raw: Raw) -> None:
  members = {}
  for i in range(COUNT):
    members[f"{i:06d}.jpg"], caption = raw()
    members[f"{i:06d}.json"] = json.dumps({"prompt": caption}).encode()
  written.tar(root / "data_512_2M/data_000000.tar", members)


def blip3o(root: pathlib.Path, raw: Raw) -> None:
  members = {}
  for i in range(COUNT):
    members[f"{i}.jpg"], caption = raw()
    members[f"{i}.txt"] = caption.encode()
  written.tar(root / "object_1.tar", members)


def sharegpt4o_image(root: pathlib.Path, raw: Raw) -> None:
  rows, members = [], {}
  for i in range(COUNT):
    members[f"image/{i}.png"], prompt = raw()
    rows.append({"input_prompt": prompt, "output_image": f"image/{i}.png"})
  written.json_list(root / "text_to_image.json", rows)
  written.tar(root / "text_to_image_part_0.tar", members)


def anyedit(root: pathlib.Path, raw: Raw) -> None:
  text, image = hf.STRING, hf.IMAGE
  columns = {
    "image_id": text,
    "edit_instruction": text,
    "edit_type": text,
    "image_file": image,
    "edited_file": image,
    "visual_input": image,
    "input": text,
    "output": text,
  }
  rows = []
  for i in range(COUNT):
    (before, said), (after, says) = raw(), raw()
    rows.append(
      {
        "image_id": str(i),
        "edit_instruction": "make it another",
        "edit_type": "color_alter",
        "image_file": hf.image(before),
        "edited_file": hf.image(after),
        "input": said,
        "output": says,
      }
    )
  hf.write(root / "data/train-00000-of-00001.parquet", columns, rows)


def subjects200k(root: pathlib.Path, raw: Raw) -> None:
  text, grade = hf.STRING, hf.pa.int64()
  grades = ("compositeStructure", "objectConsistency", "imageQuality")
  columns = {
    "image": hf.IMAGE,
    "collection": text,
    "quality_assessment": hf.pa.struct([(name, grade) for name in grades]),
    "description": hf.pa.struct(
      [("item", text), ("description_0", text), ("description_1", text)]
    ),
  }
  rows = []
  for _ in range(COUNT // 2):
    side, padding = 512, 16
    whole = np.full((side + 2 * padding, 2 * side + 3 * padding, 3), 255, "u1")
    said = []
    for left in (padding, side + 2 * padding):
      data, caption = raw()
      half = Image.open(written.io.BytesIO(data)).resize((side, side))
      whole[padding : padding + side, left : left + side] = np.asarray(half)
      said.append(caption)
    rows.append(
      {
        "image": hf.image(encoded(whole)),
        "collection": "collection_2",
        "quality_assessment": dict.fromkeys(grades, 5),
        "description": {
          "item": "it",
          "description_0": said[0],
          "description_1": said[1],
        },
      }
    )
  hf.write(root / "data/train-00000-of-00001.parquet", columns, rows)


def uniworld(root: pathlib.Path, raw: Raw) -> None:
  name = "coco2017_caption_canny-236k"
  rows = []
  for i in range(COUNT):
    pair = [f"{2 * i:08d}.jpg", f"{2 * i + 1:08d}.jpg"]
    for path in pair:
      written.file(root / "data" / name / path, raw()[0])
    rows.append(
      {
        "image": pair,
        "conversations": [
          {"from": "human", "value": "<image>\nDraw the edges."},
          {"from": "gpt", "value": "Here they are.<gen_image>"},
        ],
      }
    )
  written.json_list(root / f"json/{name}.json", rows)
  written.file(root / "data.txt", f"data/{name},json/{name}.json,false\n")


def llava_onevision(root: pathlib.Path, raw: Raw) -> None:
  turn = hf.pa.struct([("from", hf.STRING), ("value", hf.STRING)])
  columns = {
    "id": hf.STRING,
    "image": hf.IMAGE,
    "conversations": hf.pa.list_(turn),
    "data_source": hf.STRING,
  }
  rows = []
  for i in range(COUNT):
    data, caption = raw()
    turns = [
      {"from": "human", "value": "<image>\nwhat is it?"},
      {"from": "gpt", "value": caption.split()[0]},
    ]
    rows.append(
      {
        "id": str(i),
        "image": hf.image(data),
        "conversations": turns,
        "data_source": "clevr(cauldron)",
      }
    )
  path = root / "clevr(cauldron)/train-00000-of-00001.parquet"
  hf.write(path, columns, rows)
