"""Names of models: local folders, and the hub's cache without a network."""

import json
import os
import pathlib
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub import errors

from unialign_jax.convert import tensors
from unialign_jax.features import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/some-model"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  """An empty cache, and no network whatever a test does."""
  folder = tmp_path / "cache"
  folder.mkdir()
  monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  return folder


def _cached(cache: pathlib.Path, *, revision: str = "main") -> pathlib.Path:
  """A snapshot folder as huggingface_hub lays it out; empty."""
  repository = cache / "models--someone--some-model"
  (repository / "refs").mkdir(parents=True)
  (repository / "refs" / revision).write_text(COMMIT)
  snapshot = repository / "snapshots" / COMMIT
  snapshot.mkdir(parents=True)
  return snapshot


def _write_sharded(folder: pathlib.Path, **shards: dict) -> None:
  """config.json and one safetensors file for each of `shards`."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.json").write_text("{}")
  weight_map = {}
  for stem, names in shards.items():
    tensors.save(folder, stem, {n: np.zeros(2, np.float32) for n in names})
    weight_map |= dict.fromkeys(names, f"{stem}.safetensors")
  index = folder / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": weight_map}))


def test_a_local_folder_is_taken_as_it_is(tmp_path, monkeypatch):
  inner = tmp_path / "someone" / "some-model" / "vae"
  inner.mkdir(parents=True)
  assert hub.folder(inner, files=()) == inner
  assert hub.folder(inner.parent, "vae", files=()) == inner
  monkeypatch.chdir(tmp_path)  # looks like a hub id, but is there
  assert hub.folder(f"{REPO}/vae", files=()).samefile(inner)
  with pytest.raises(ValueError, match=r"no folder 'text'.*\['vae'\]"):
    hub.folder(inner.parent, "text", files=())


@pytest.mark.parametrize(
  "name",
  [
    "/no/such/folder",
    "./a/b",
    "../a",
    "vae",
    "gs://bucket/vae",
    "~/no/vae",
    "",
  ],
)
def test_a_misspelt_path_is_not_looked_up_on_the_hub(name, monkeypatch):
  monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
  with pytest.raises(ValueError, match="no folder here and no hub id"):
    hub.folder(name, files=())


def test_a_hub_id_is_found_in_the_cache_without_a_network(cache):
  vae = _cached(cache) / "vae"
  vae.mkdir()
  assert hub.folder(REPO, files=()) == vae.parent
  assert hub.folder(REPO, "vae", files=("config.json",)) == vae
  assert hub.folder(f"{REPO}/vae", files=("config.json",)) == vae
  assert hub.folder(f"{REPO}/vae@{COMMIT}", files=("config.json",)) == vae
  with pytest.raises(ValueError, match=r"no folder 'text'.*\['vae'\]"):
    hub.folder(f"{REPO}/text", files=())


def test_a_revision_is_told_apart(cache):
  snapshot = _cached(cache, revision="v2")
  assert hub.folder(f"{REPO}@v2", files=()) == snapshot
  with pytest.raises(ValueError, match="cannot be fetched"):
    hub.folder(REPO, files=())


def test_the_environment_names_the_cache(cache):
  """As a user has it: variables set before Python starts."""
  snapshot = _cached(cache)
  code = (
    "from unialign_jax.features import hub\n"
    f"print(hub.folder({REPO!r}, files=('config.json',)))"
  )
  result = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == str(snapshot)


def test_offline_and_not_in_the_cache():
  with pytest.raises(
    ValueError, match=r"HF_HUB_OFFLINE is set.*hf download someone/some-model "
  ):
    hub.folder(f"{REPO}/vae", files=())


def _refusal(kind):
  import httpx2

  request = httpx2.Request("GET", "https://localhost/x")
  return kind("no", response=httpx2.Response(403, request=request))


@pytest.mark.parametrize(
  ("kind", "message"),
  [
    (errors.GatedRepoError, r"Accept the terms .* `hf auth login`"),
    (errors.RepositoryNotFoundError, r"no model on the hub.*spelling"),
    (errors.RevisionNotFoundError, r"no revision 'v9'"),
    (errors.HfHubHTTPError, r"Fetching 'someone/some-model' .* failed: no"),
  ],
)
def test_what_the_hub_refuses_is_explained(kind, message, monkeypatch):
  def refuse(*args, **kwargs):
    raise _refusal(kind)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
  with pytest.raises(ValueError, match=message):
    hub.folder(f"{REPO}@v9", files=())


class FakeHub:
  """A repository, of which `snapshot_download` copies what is asked for."""

  def __init__(self, published: pathlib.Path, snapshot: pathlib.Path):
    self._published, self._snapshot = published, snapshot
    self.revisions = []

  def __call__(self, repo, *, revision, allow_patterns):
    assert repo == REPO
    self.revisions.append(revision)
    for path in self._published.rglob("*"):
      name = str(path.relative_to(self._published))
      if path.is_file() and name in allow_patterns:
        copy = self._snapshot / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return str(self._snapshot)


@pytest.mark.parametrize("subfolder", ["", "text/encoder"])
def test_only_shards_with_a_wanted_tensor_are_fetched(
  subfolder, tmp_path, cache, monkeypatch
):
  published, snapshot = tmp_path / "published", _cached(cache)
  _write_sharded(
    published / subfolder, one=["a.x", "b.x"], two=["b.y"], three=["c"]
  )
  (published / subfolder / "model.fp16.safetensors").write_bytes(b"large")
  fake = FakeHub(published, snapshot)
  monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
  found = hub.weights(REPO, subfolder, stem="model", wanted=r"b\..*")
  assert found == snapshot / subfolder
  assert sorted(path.name for path in found.iterdir()) == [
    "config.json",
    "model.safetensors.index.json",
    "one.safetensors",
    "two.safetensors",
  ]
  assert fake.revisions == [None, COMMIT]  # one state of the repository
  hub.weights(f"{REPO}@v2", subfolder, stem="model", wanted=r"b\..*")
  assert fake.revisions[2:] == ["v2"]  # all there by now


def test_an_incomplete_cache_is_refused(cache):
  snapshot = _cached(cache)
  _write_sharded(snapshot, one=["a"], two=["b"])
  assert hub.weights(REPO, stem="model") == snapshot
  (snapshot / "two.safetensors").unlink()
  with pytest.raises(ValueError, match=r"lacks \['two\.safetensors'\]"):
    hub.weights(REPO, stem="model")
  assert hub.weights(REPO, stem="model", wanted="a") == snapshot


def test_folders_without_safetensors_are_refused(tmp_path):
  (tmp_path / "pytorch_model.bin").touch()
  with pytest.raises(ValueError, match=r"No weights.*pytorch_model\.bin"):
    hub.weights(tmp_path, stem="model")
  (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs")
  with pytest.raises(ValueError, match=r"Cannot read .* as safetensors"):
    hub.weights(tmp_path, stem="model")
