"""--data: a path here, or a data set of the hub."""

import pathlib
import types

import huggingface_hub
import pytest
from huggingface_hub import errors

from tests.evals.gedit import files
from unialign_jax.evals import official_files
from unialign_jax.evals import registry

_GEDIT = registry.load("gedit")
_ID = "stepfun-ai/GEdit-Bench"


@pytest.fixture
def asked(tmp_path: pathlib.Path, monkeypatch) -> list[dict]:
  """What the hub is asked for; it gives the folder `snapshot`."""
  calls = []

  def download(repo: str, **options):
    calls.append({"repo": repo, **options})
    return str(tmp_path / "snapshot")

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  monkeypatch.chdir(tmp_path)
  return calls


@pytest.mark.parametrize("write", [files.write_parquet, files.write_arrow])
def test_a_data_set_of_the_hub_is_read(tmp_path: pathlib.Path, asked, write):
  written, snapshot = write(tmp_path / "written"), tmp_path / "snapshot"
  # The hub's cache has links to files that are named by their hashes.
  for path in [p for p in written.rglob("*") if p.is_file()]:
    link = snapshot / path.relative_to(written)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(path)
  found = official_files.find(_ID, _GEDIT)
  assert asked == [
    {
      "repo": _ID,
      "repo_type": "dataset",
      "allow_patterns": ["*.parquet", "*.arrow"],
    }
  ]
  wanted = _GEDIT.wanted(found, {"partial": "true"})
  assert len(wanted) == 3
  assert wanted == _GEDIT.wanted(written, {"partial": "true"})


def test_a_path_that_exists_wins(tmp_path: pathlib.Path, asked):
  (tmp_path / _ID).mkdir(parents=True)
  assert official_files.find(_ID, _GEDIT) == pathlib.Path(_ID)
  assert official_files.find("", _GEDIT) is None
  assert not asked


@pytest.mark.parametrize(
  "name, given",
  [("gedit", "a/b/c"), ("gedit", "GEdit-Bench"), ("dpg", "owner/name")],
)
def test_what_cannot_be_of_the_hub_is_not_asked_for(asked, name, given):
  with pytest.raises(ValueError, match=f"^--data={given}: got no such file or"):
    official_files.find(given, registry.load(name))
  assert not asked


def _http(kind: type[Exception]) -> Exception:
  response = types.SimpleNamespace(headers={}, request=None)
  return kind("404: two\nlines", response=response)


@pytest.mark.parametrize(
  "error, reason",
  [
    (errors.LocalEntryNotFoundError("x"), "out of reach"),
    (_http(errors.RepositoryNotFoundError), "no such data set"),
    (_http(errors.GatedRepoError), "accept the terms"),
    (errors.HFValidationError("no id"), "HFValidationError: no id"),
    (OSError("disk full"), "disk full"),
  ],
)
def test_a_download_that_fails_is_one_line(monkeypatch, error, reason: str):
  def download(*args, **options):
    raise error

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  with pytest.raises(ValueError, match=reason) as raised:
    official_files.find("a/b", _GEDIT)
  said = str(raised.value)
  assert said.startswith("--data=a/b: got no such folder, and on the hub")
  assert "\n" not in said
