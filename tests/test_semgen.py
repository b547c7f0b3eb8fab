"""Real photographs with long captions, from files to a falling loss.

Needs SemGen-Bench as the UniAlignment authors publish it (images/N.jpg and
semgen_bench.jsonl) in the folder $UNIALIGN_SEMGEN.
"""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image
from PIL import ImageOps

from unialign_jax import config as config_lib
from unialign_jax.data import sample as sample_lib
from unialign_jax.features import encode
from unialign_jax.features import encoders
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import pooled
from unialign_jax.features import writer
from unialign_jax.shapes import weights
from unialign_jax.training import loop

_FOLDER = os.environ.get("UNIALIGN_SEMGEN", "")
pytestmark = pytest.mark.skipif(
  not _FOLDER, reason="$UNIALIGN_SEMGEN does not name a folder of SemGen-Bench"
)
_SIDE = 64
_TEXT_LENGTH = 48  # the small tokenizer spells most words letter by letter
_SEMANTIC_DIM = 32
_STEPS = 20


def photographs() -> list[sample_lib.Sample]:
  folder = pathlib.Path(_FOLDER)
  lines = (folder / "semgen_bench.jsonl").read_text("utf-8").splitlines()
  return [photograph(folder, json.loads(line)) for line in lines]


def photograph(folder: pathlib.Path, entry: dict) -> sample_lib.Sample:
  name = pathlib.PurePosixPath(entry["image_path"]).name
  with Image.open(folder / "images" / name) as image:
    square = ImageOps.fit(image.convert("RGB"), (_SIDE, _SIDE))
  return sample_lib.Sample(
    key=name,
    task="text_to_image",
    source="semgen_bench",
    license="MIT",
    caption_source="t2i_long",
    target_image=np.asarray(square),
    instruction=entry["t2i_long"],
    caption=entry["t2i_long"],
  )


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  text = encoders.TextEncoder.load(weights.TEXT_ENCODER, weights.TOKENIZER)
  image = encoders.ImageEncoder.load(weights.VAE, batch_size=32)
  semantic = pooled.PooledFeatures(
    text, image, dim=_SEMANTIC_DIM, text_length=_TEXT_LENGTH
  )
  folder = tmp_path_factory.mktemp("semgen")
  written = writer.write_features(
    photographs(),
    folder,
    encode.Encoders(text=text, image=image, semantic=semantic),
    writer.WriterConfig(text_length=_TEXT_LENGTH, draws=0),
  )
  assert written.num_records == 150
  return folder


@pytest.fixture
def config(features: pathlib.Path) -> config_lib.Config:
  values = config_lib.load_file("tiny.py")
  values.data.update(
    sources=((str(features), 1.0),), text_length=_TEXT_LENGTH, batch_size=32
  )
  values.model.update(width=64, semantic_dim=_SEMANTIC_DIM)
  values.optimizer.update(learning_rate=3e-3, schedule="constant")
  values.mesh.data = -1
  values.train.update(steps=_STEPS, checkpoint_every=_STEPS)
  return config_lib.from_dict(values)


def test_long_captions_are_cut_and_counted(features: pathlib.Path) -> None:
  (shard,) = manifest_lib.load(features).shards
  assert shard.skipped == 0
  assert shard.truncated_captions > 140


def test_loss_falls_on_photographs(
  config: config_lib.Config, tmp_path: pathlib.Path
) -> None:
  assert loop.run(config, tmp_path) == _STEPS
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  totals = [float(json.loads(line)["loss/total"]) for line in lines]
  assert len(totals) == _STEPS
  assert np.isfinite(totals).all()
  assert np.mean(totals[-5:]) < 0.9 * np.mean(totals[:5])
