"""Feature sets of the Shapes world, with the shipped encoders."""

import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from unialign_jax import config as config_lib
from unialign_jax.data import damage
from unialign_jax.data import feature_set
from unialign_jax.features import encode
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.shapes import builder
from unialign_jax.shapes import feature_sets

TASKS = ("text_to_image", "edit")


def configs(**changes: int) -> list[builder.ShapesConfig]:
  counts = {"train": 5, "validation": 2, "test": 0} | changes
  return [
    builder.ShapesConfig(task=task, world=feature_sets.WORLD, **counts)
    for task in TASKS
  ]


@pytest.fixture(scope="module")
def nets() -> encode.Encoders:
  return feature_sets.load_encoders()


@pytest.fixture(scope="module")
def built(
  nets: encode.Encoders, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("shapes")
  feature_sets.build(folder / "features", folder / "tfds", configs(), nets)
  return folder


def files(folder: pathlib.Path) -> dict[pathlib.Path, int]:
  return {
    path: path.stat().st_mtime_ns
    for path in folder.rglob("*")
    if path.is_file()
  }


def test_one_feature_set_per_split_and_task(built: pathlib.Path) -> None:
  found = {
    str(path.parent.relative_to(built / "features")): manifest_lib.load(
      path.parent
    ).num_records
    for path in built.rglob(manifest_lib.FILENAME)
  }
  assert found == {
    "train/text_to_image": 5,
    "train/edit": 5,
    "validation/text_to_image": 2,
    "validation/edit": 2,
  }


def test_the_sets_fit_the_shipped_config(built: pathlib.Path) -> None:
  config = config_lib.from_dict(config_lib.load_file("shapes.py"))
  for path in built.rglob(manifest_lib.FILENAME):
    opened = feature_set.FeatureSet(
      path.parent, config.expectations(), damage.DamageCounter(0)
    )
    element = opened.element(0, visit=0)
    assert element["latents_mean"].shape == config.latent_shape
    assert np.isfinite(element["h_image"]).all()


def test_no_text_is_cut(built: pathlib.Path) -> None:
  for path in built.rglob(manifest_lib.FILENAME):
    for shard in manifest_lib.load(path.parent).shards:
      assert (shard.truncated_prompts, shard.truncated_captions) == (0, 0)


def test_a_second_run_changes_no_file(
  built: pathlib.Path, nets: encode.Encoders
) -> None:
  before = files(built)
  feature_sets.build(built / "features", built / "tfds", configs(), nets)
  assert files(built) == before


def test_stored_draws(nets: encode.Encoders, tmp_path: pathlib.Path) -> None:
  config = configs(train=2, validation=0)[0]
  manifests = feature_sets.build(
    tmp_path, tmp_path / "tfds", [config], nets, draws=2
  )
  assert manifests["train/text_to_image"].layout.draws == 2


def test_sets_of_other_data_are_refused(
  built: pathlib.Path, nets: encode.Encoders, tmp_path: pathlib.Path
) -> None:
  with pytest.raises(ValueError, match="got 5 records, expected 6"):
    feature_sets.build(
      built / "features", tmp_path / "tfds", configs(train=6), nets
    )


def test_ctrl_c_is_one_message(tmp_path: pathlib.Path) -> None:
  process = subprocess.Popen(
    [
      *(sys.executable, "-m", "unialign_jax.shapes.build"),
      *(f"--out={tmp_path / 'features'}", "--tasks=text_to_image"),
      "--train=3000",
    ],
    stderr=subprocess.PIPE,
    text=True,
    # A suite in the background passes on that Ctrl-C is ignored.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )
  seen = ""
  while "train/text_to_image" not in seen:  # encoding has begun
    seen += process.stderr.read(1)
    assert process.poll() is None, seen
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=120)
  assert process.returncode == 130, errors
  assert errors.rstrip().endswith("goes on with the first unfinished shard")
  assert "Traceback" not in errors
