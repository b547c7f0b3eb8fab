"""From raw files of nine formats to a stage-3 checkpoint that draws and writes.

Tiny random networks of the very classes of SD3's T5 and VAE and of Qwen2.5-VL
encode them; `job.run` is what the precompute command runs, `loop.run` what the
train command runs. One of the sets is real: the photographs and captions of
SemGen-Bench in $UNIALIGN_SEMGEN, which stand in as targets of their own edits.
"""

import functools
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

import ml_collections
import numpy as np
import pytest
from PIL import Image

from tests.data.sources import hf
from tests.data.sources import written
from tests.features import tiny_encoders
from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax.features import encoders
from unialign_jax.features import job
from unialign_jax.features import settings
from unialign_jax.features import verify
from unialign_jax.features import worker
from unialign_jax.shapes import language
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes
from unialign_jax.training import loop

_PHOTOGRAPHS = os.environ.get("UNIALIGN_SEMGEN", "")
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    not _PHOTOGRAPHS,
    reason="$UNIALIGN_SEMGEN does not name a folder of SemGen-Bench",
  ),
]
_SIDE = 16  # pixels
_TEXT_LENGTH = 24
_STEPS = 4
_COUNT = 8  # samples of each made set
_WORKER = worker.Worker(0, 1)
_FORMS = ("JPEG", "PNG", "WEBP")


class _Raw:
  """Pictures and texts for the made sets: Shapes scenes, as encoded files."""

  def __init__(self) -> None:
    self._rng = np.random.default_rng(0)
    self._count = 0

  def __call__(self) -> tuple[bytes, str]:
    scene = scenes.sample_scene(self._rng)
    form = _FORMS[self._count % len(_FORMS)]
    self._count += 1
    text = language.caption(scene, self._rng)
    return _encoded(render.render(scene), form), text


def _encoded(picture_HWC: np.ndarray, form: str = "PNG") -> bytes:
  stream = written.io.BytesIO()
  Image.fromarray(picture_HWC).save(stream, form)
  return stream.getvalue()


def _photographs(root: pathlib.Path) -> None:
  """SemGen-Bench as a folder with metadata, and as the authors' edit lines."""
  source = pathlib.Path(_PHOTOGRAPHS)
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


def _text_to_image_2m(root: pathlib.Path, raw: _Raw) -> None:
  members = {}
  for i in range(_COUNT):
    members[f"{i:06d}.jpg"], caption = raw()
    members[f"{i:06d}.json"] = json.dumps({"prompt": caption}).encode()
  written.tar(root / "data_512_2M/data_000000.tar", members)


def _blip3o(root: pathlib.Path, raw: _Raw) -> None:
  members = {}
  for i in range(_COUNT):
    members[f"{i}.jpg"], caption = raw()
    members[f"{i}.txt"] = caption.encode()
  written.tar(root / "object_1.tar", members)


def _sharegpt4o_image(root: pathlib.Path, raw: _Raw) -> None:
  rows, members = [], {}
  for i in range(_COUNT):
    members[f"image/{i}.png"], prompt = raw()
    rows.append({"input_prompt": prompt, "output_image": f"image/{i}.png"})
  written.json_list(root / "text_to_image.json", rows)
  written.tar(root / "text_to_image_part_0.tar", members)


def _anyedit(root: pathlib.Path, raw: _Raw) -> None:
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
  for i in range(_COUNT):
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


def _subjects200k(root: pathlib.Path, raw: _Raw) -> None:
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
  for _ in range(_COUNT // 2):
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
        "image": hf.image(_encoded(whole)),
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


def _uniworld(root: pathlib.Path, raw: _Raw) -> None:
  name = "coco2017_caption_canny-236k"
  rows = []
  for i in range(_COUNT):
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


def _llava_onevision(root: pathlib.Path, raw: _Raw) -> None:
  turn = hf.pa.struct([("from", hf.STRING), ("value", hf.STRING)])
  columns = {
    "id": hf.STRING,
    "image": hf.IMAGE,
    "conversations": hf.pa.list_(turn),
    "data_source": hf.STRING,
  }
  rows = []
  for i in range(_COUNT):
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


# Feature set -> source, folder of the raw files, options, whether captions are
# to be filled in, condition images, records.
_SETS = {
  "text_to_image_2m": ("text_to_image_2m", "t2i", {}, False, 0, _COUNT),
  "photographs": ("folder", "photographs", {}, False, 0, 150),
  "photograph_edits": (
    "unialign_jsonl",
    "photograph_edits",
    {"kind": "edit"},
    False,
    1,
    150,
  ),
  "anyedit": ("anyedit", "anyedit", {}, False, 1, _COUNT),
  "uniworld_perception": (
    "uniworld",
    "uniworld",
    {"part": "perception", "min_side": "0"},
    True,
    1,
    _COUNT,
  ),
  "subjects200k": ("subjects200k", "subjects", {}, False, 1, _COUNT),
  "blip3o_60k": ("blip3o", "blip3o", {}, False, 0, _COUNT),
  "sharegpt4o_image": ("sharegpt4o_image", "sharegpt", {}, False, 0, _COUNT),
  "llava_onevision": ("llava_onevision", "llava", {}, False, 0, _COUNT),
}
_STAGES = {
  1: ("text_to_image_2m", "photographs"),
  2: (
    "photographs",
    "photograph_edits",
    "anyedit",
    "uniworld_perception",
    "subjects200k",
  ),
  3: ("blip3o_60k", "sharegpt4o_image", "llava_onevision"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def networks(root: pathlib.Path) -> dict[str, str]:
  """Folders as their publishers save them, by what the configs call them."""
  text = str(tiny_encoders.save_t5(root / "t5"))
  image = str(tiny_encoders.save_vae(root / "vae"))
  tiny_encoders.save_qwen(root / "qwen")
  return {"text": text, "tokenizer": text, "image": image}


@pytest.fixture(scope="module", autouse=True)
def load_once() -> Iterator[None]:
  """Nine sets with the same encoders: loaded and compiled once."""
  with pytest.MonkeyPatch.context() as patch:
    load = functools.cache(settings.load_encoders)
    patch.setattr(settings, "load_encoders", load)
    yield


@pytest.fixture(scope="module")
def features(root: pathlib.Path, networks: dict[str, str]) -> pathlib.Path:
  """All feature sets, from the raw files."""
  data = root / "raw"
  data.mkdir()
  raw = _Raw()
  _photographs(data)
  for folder, write in (
    ("t2i", _text_to_image_2m),
    ("anyedit", _anyedit),
    ("uniworld", _uniworld),
    ("subjects", _subjects200k),
    ("blip3o", _blip3o),
    ("sharegpt", _sharegpt4o_image),
    ("llava", _llava_onevision),
  ):
    write(data / folder, raw)
  values = config_lib.load_file("features.py:tiny")
  values.encoders.update(
    **networks, semantic=f"qwen:{root / 'qwen'}", semantic_dtype="float32"
  )
  values.pictures.resolution = _SIDE
  values.writer.update(text_length=_TEXT_LENGTH, batch_size=32)
  config = settings.from_dict(values)
  for name, (source, folder, options, fill, _, _) in _SETS.items():
    captions = root / f"{name}.jsonl" if fill else ""
    described = job.Data(
      source=source, root=data / folder, options=options, captions=captions
    )
    if fill:
      _write_captions(described, captions)
    assert job.run(described, root / "features" / name, config, _WORKER)
  return root / "features"


def _write_captions(data: job.Data, path: pathlib.Path) -> None:
  """What `recaption` writes, with a fixed text."""
  source = job.registry.open_source(data.source, data.root, **data.options)
  lines = [
    {
      "source": source[i].source,
      "key": source[i].key,
      "image_sha256": "",
      "caption": "white edges on black",
      "model": "test",
      "prompt": "map-1",
    }
    for i in range(len(source))
  ]
  written.json_lines(path, lines)


def _config(
  stage: int,
  root: pathlib.Path,
  features: pathlib.Path,
  networks: dict[str, str],
) -> ml_collections.ConfigDict:
  values = config_lib.load_file(f"stage{stage}.py:tiny")
  text = encoders.TextEncoder.load(networks["text"], networks["tokenizer"])
  values.encoders.update(networks)
  values.model.update(
    in_channels=tiny_encoders.LATENT_CHANNELS,
    text_dim=tiny_encoders.T5_WIDTH,
    semantic_dim=tiny_encoders.QWEN_WIDTH,
    vocab_size=text.vocab_size,
  )
  values.data.update(
    root=str(features),
    sources=tuple((name, 1.0) for name in _STAGES[stage]),
    resolution=_SIDE,
    latent_factor=tiny_encoders.DOWNSAMPLING,
    text_length=_TEXT_LENGTH,
    mask_id=text.mask_id,
  )
  values.train.update(steps=_STEPS, checkpoint_every=_STEPS)
  if stage > 1:
    values.train.init_from = str(root / f"run{stage - 1}")
  if stage == 3:
    values.train.sample_every = _STEPS
    values.sample.sources = ("blip3o_60k", "llava_onevision")
  return values


@pytest.fixture(scope="module")
def runs(
  root: pathlib.Path, features: pathlib.Path, networks: dict[str, str]
) -> list[pathlib.Path]:
  """The workdirs of the three stages, each begun with the one before."""
  workdirs = []
  for stage in _STAGES:
    workdirs.append(root / f"run{stage}")
    values = _config(stage, root, features, networks)
    assert loop.run(config_lib.from_dict(values), workdirs[-1]) == _STEPS
  return workdirs


@pytest.mark.parametrize("name", _SETS)
def test_every_raw_sample_is_a_record(
  name: str, features: pathlib.Path
) -> None:
  *_, num_cond, records = _SETS[name]
  report = verify.verify(features / name)
  assert not report.faults
  manifest = verify.manifest_lib.load(features / name)
  assert manifest.num_records == records
  assert manifest.layout.num_cond == num_cond
  assert manifest.layout.semantic_dim == tiny_encoders.QWEN_WIDTH


def test_losses_are_finite_and_every_task_was_trained(
  runs: list[pathlib.Path],
) -> None:
  tasks = set()
  for workdir in runs:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == _STEPS
    for line in map(json.loads, lines):
      losses = {k: v for k, v in line.items() if k.startswith("loss/")}
      assert np.isfinite(list(losses.values())).all()
      tasks |= {name.split("/")[2] for name in losses if name.count("/") == 2}
  assert tasks >= {"text_to_image", "understanding"}
  assert tasks & {"edit", "perception", "personalise"}


def test_stages_pass_their_weights_on(runs: list[pathlib.Path]) -> None:
  """Four small steps leave the weights near those of the stage before."""

  def flat(workdir: pathlib.Path) -> np.ndarray:
    _, ema = checkpoint.load_params(workdir)
    leaves = checkpoint.jax.tree.leaves(ema)
    return np.concatenate([np.asarray(x).ravel() for x in leaves])

  first, second, third = map(flat, runs)
  size = np.linalg.norm(first)
  assert 0 < np.linalg.norm(second - first) < 1e-3 * size
  assert 0 < np.linalg.norm(third - second) < 1e-3 * size


def test_the_last_checkpoint_draws_and_writes(
  runs: list[pathlib.Path],
) -> None:
  samples = runs[-1] / "samples"
  for task in ("text_to_image", "understanding"):
    stem = samples / f"step_{_STEPS:08d}_{task}"
    picture = np.asarray(Image.open(stem.with_suffix(".png")))
    assert picture.std() > 1
    texts = stem.with_suffix(".txt").read_text().splitlines()
    assert len(texts) == 2
    assert all(" -> " in text for text in texts)
