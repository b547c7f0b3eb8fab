"""What does not fit is told before an encoder is loaded or a picture read."""

import dataclasses
import pathlib

import pytest
from etils import epath

from tests.features import pictures_folder
from tests.features import test_settings
from unialign_jax.features import files
from unialign_jax.features import job
from unialign_jax.features import manifest as manifest_lib
from unialign_jax.features import settings
from unialign_jax.features import worker

ALONE = worker.Worker(0, 1)
CAPTION = (
  '{"source": "folder/pictures", "key": "0011.jpg", "caption": "a dog",'
  ' "model": "m"}\n'
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("data") / "pictures"
  pictures_folder.write(folder, 12)
  return folder


def config(**groups: dict) -> settings.FeaturesConfig:
  writer = {"shard_size": 6, "processes": 0} | groups.pop("writer", {})
  return settings.from_dict(test_settings.shipped(writer=writer, **groups))


@pytest.fixture(scope="module")
def written(root, tmp_path_factory) -> pathlib.Path:
  """Worker 1 of 2 has finished."""
  out = tmp_path_factory.mktemp("out")
  data = job.Data(source="folder", root=root)
  assert job.run(data, out, config(), worker.Worker(1, 2)) is None
  return out


def test_a_set_tells_its_origin(root, written, tmp_path):
  captions = tmp_path / "captions.jsonl"
  captions.write_text(CAPTION)
  data = job.Data(
    source="folder",
    root=root,
    options={"recursive": "False", "captions": "txt"},
    captions=captions,
  )
  layout = job.run(data, tmp_path / "out", config(), ALONE).layout
  assert layout.source == "folder captions=txt recursive=False"
  assert layout.captions == files.sha256(captions)
  assert (layout.framing, layout.items) == ("crop 64", 12)


def test_captions_fill_what_is_missing(root, tmp_path):
  captions = tmp_path / "captions.jsonl"
  captions.write_text(CAPTION)
  bare = tmp_path / "pictures"
  bare.mkdir()
  for name in ("0010.jpg", "0011.jpg"):
    (bare / name).write_bytes((root / name).read_bytes())
  data = job.Data(source="folder", root=bare, captions=captions)
  manifest = job.run(data, tmp_path / "out", config(), ALONE)
  assert manifest.num_records == 1
  assert manifest.rejected == {"no caption": 1}


@pytest.mark.parametrize(
  ("data", "groups", "message"),
  [
    ({"source": "folders"}, {}, "got source 'folders', expected one of"),
    ({"root": "/no/such/root"}, {}, "/no/such/root"),
    ({"options": {"captoins": "txt"}}, {}, "there is no .'captoins'"),
    ({"captions": "/no/such/file"}, {}, "/no/such/file"),
    ({}, {"encoders": {"image": "/no/vae"}}, r"config\.encoders\.image: "),
    ({}, {"writer": {"shard_size": 5}}, "shard_size: the folder has 6, this"),
    ({}, {"writer": {"seed": 5}}, "seed: the folder has 0, this run 5"),
    ({}, {"pictures": {"policy": "pad"}}, "has 'crop 64', this run 'pad 64'"),
    ({"options": {"captions": "txt"}}, {}, "this run 'folder captions=txt'"),
  ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_mistakes_come_before_the_encoders(
  finished, data, groups, message, root, written, tmp_path, monkeypatch
):
  out = written
  if finished:
    out = tmp_path / "finished"
    entry = manifest_lib.load_entry(next(written.glob("parts/*.json")))
    manifest = manifest_lib.Manifest(
      schema_version=1,
      layout=entry.layout,
      null_prompt_sha256="",
      shards=(entry.shard,),
      rejected={},
    )
    files.write(
      epath.Path(out) / manifest_lib.FILENAME, manifest_lib.dumps(manifest)
    )

  def load_encoders(config):
    raise AssertionError("too late")

  monkeypatch.setattr(settings, "load_encoders", load_encoders)
  given = dataclasses.replace(job.Data(source="folder", root=root), **data)
  with pytest.raises(ValueError, match=message):
    job.run(given, out, config(**groups), ALONE)
