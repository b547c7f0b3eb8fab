"""Folders of published models: on this machine, or from the Hugging Face hub.

A name is a folder as it is, or a hub id `OWNER/MODEL[/SUBFOLDER][@REVISION]`,
such as `stabilityai/stable-diffusion-3-medium-diffusers/text_encoder_3`. Only
the files that are asked for are fetched, into the hub's own cache
(`HF_HUB_CACHE`), and of weights only shards that hold a tensor wanted. What
the cache has is used without a network (`HF_HUB_OFFLINE=1`).
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable
from collections.abc import Mapping

import huggingface_hub
import safetensors
from huggingface_hub import errors

from unialign_jax.convert import tensors

Path = str | os.PathLike[str]

TOKENIZER = (
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
)

_PART = r"\w[\w.-]*"
_ID = re.compile(
  rf"(?P<repo>{_PART}/{_PART})(?P<inner>(/{_PART})*)(@(?P<revision>.+))?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Repository:
  """A model on the hub; `revision` None is its main branch."""

  repo: str
  revision: str | None
  subfolder: str

  def fetch(self, files: Iterable[str]) -> pathlib.Path:
    """The snapshot, with these files of the subfolder as far as they exist."""
    prefix = f"{self.subfolder}/" if self.subfolder else ""
    try:
      root = huggingface_hub.snapshot_download(
        self.repo,
        revision=self.revision,
        allow_patterns=[prefix + file for file in files],
      )
    except (OSError, errors.HFValidationError) as error:
      raise ValueError(_explain(self, error)) from error
    return pathlib.Path(root)


def folder(
  name: Path, subfolder: str = "", *, files: Iterable[str]
) -> pathlib.Path:
  """The local folder that `name` means, fetched where it is a hub id.

  Args:
    name: a folder, or `OWNER/MODEL[/SUBFOLDER][@REVISION]`; an existing folder
      wins.
    subfolder: inside of it.
    files: names in the folder to fetch; not all of them need exist.

  Raises:
    ValueError: neither a folder nor a hub id, or a download that failed, with
      the reason (offline, gated, no such model or revision) and the remedy.
  """
  found = _parse(name, subfolder)
  if isinstance(found, _Repository):
    found = found.fetch(files) / found.subfolder
  if not found.is_dir():
    raise ValueError(
      f"{os.fspath(name)!r} has no folder {found.name!r}: {found.parent} holds"
      f" {_listing(found.parent)}; check the spelling of the subfolder, and"
      " offline, that it was fetched."
    )
  return found


def weights(
  name: Path,
  subfolder: str = "",
  *,
  stem: str,
  wanted: str = ".*",
  files: Iterable[str] = ("config.json",),
) -> pathlib.Path:
  """`folder` with its safetensors, single or sharded.

  Args:
    name: as in `folder`.
    subfolder: as in `folder`.
    stem: "model" for transformers, "diffusion_pytorch_model" for diffusers.
    wanted: regex of tensor names; a shard without any is not fetched.
    files: what is needed beside the weights.

  Raises:
    ValueError: as in `folder`, or no safetensors there, or some missing.
  """
  index = f"{stem}.safetensors.index.json"
  found = folder(name, subfolder, files=(*files, f"{stem}.safetensors", index))
  shards = {
    file
    for tensor, file in weight_map(found, stem).items()
    if re.fullmatch(wanted, tensor)
  }
  missing = [file for file in sorted(shards) if not (found / file).is_file()]
  repository = _parse(name, subfolder)
  if missing and isinstance(repository, _Repository):
    depth = len(pathlib.PurePath(repository.subfolder).parts)
    # A snapshot is named by its commit: the branch may have moved since.
    commit = (found / "-").parents[depth].name
    dataclasses.replace(repository, revision=commit).fetch(missing)
    missing = [file for file in missing if not (found / file).is_file()]
  if missing:
    raise ValueError(
      f"{found} lacks {missing}, which {index} promises; fetch the model again"
      " (offline, the cache cannot be completed)."
    )
  return found


def weight_map(found: pathlib.Path, stem: str) -> Mapping[str, str]:
  """Tensor name -> file name in a folder with single or sharded safetensors.

  Raises:
    ValueError: no safetensors there, or a file that is none.
  """
  single = found / f"{stem}.safetensors"
  index = found / f"{stem}.safetensors.index.json"
  if index.is_file() and not single.is_file():
    return tensors.read_index(index)
  if not single.is_file():
    raise ValueError(
      f"No weights in {found}: expected {single.name} or {index.name}, found"
      f" {_listing(found)}. Only safetensors are read: save the model once with"
      " `save_pretrained`, or fetch it again."
    )
  try:
    with safetensors.safe_open(single, framework="numpy") as file:
      return dict.fromkeys(file.keys(), single.name)
  except (OSError, safetensors.SafetensorError) as error:
    raise ValueError(
      f"Cannot read {single} as safetensors: {error}. Download it again."
    ) from error


def _parse(name: Path, subfolder: str) -> pathlib.Path | _Repository:
  name = os.fspath(name)
  local = pathlib.Path(name).expanduser()
  if name and local.is_dir():
    return local / subfolder
  match = _ID.fullmatch(name)
  if not match:
    raise ValueError(
      f"{name!r} is no folder here and no hub id: expected an existing local"
      " folder (copy gs:// folders first) or"
      " OWNER/MODEL[/SUBFOLDER][@REVISION]; check the spelling."
    )
  inner = [part for part in (match["inner"].strip("/"), subfolder) if part]
  return _Repository(
    repo=match["repo"], revision=match["revision"], subfolder="/".join(inner)
  )


def _listing(path: pathlib.Path) -> list[str]:
  return sorted(p.name for p in path.iterdir()) if path.is_dir() else []


def _explain(wanted: _Repository, error: Exception) -> str:
  """What went wrong with a download, and what to do; most special first."""
  repo = wanted.repo
  if isinstance(error, errors.GatedRepoError):
    return (
      f"The hub does not let you read {repo!r} yet. Accept the terms on the"
      " model's page, then log in: `hf auth login`, or set HF_TOKEN."
    )
  if isinstance(error, errors.RepositoryNotFoundError):
    return (
      f"{repo!r} is no folder here and no model on the hub, or a private one;"
      " check the spelling, or log in: `hf auth login`, or set HF_TOKEN."
    )
  if isinstance(error, errors.RevisionNotFoundError):
    return (
      f"{repo!r} has no revision {wanted.revision!r} on the hub; check what"
      " follows the @."
    )
  if isinstance(error, errors.LocalEntryNotFoundError):
    part = f" --include '{wanted.subfolder}/*'" if wanted.subfolder else ""
    return (
      f"{repo!r} is no folder here; as a hub id it cannot be fetched, because"
      " the hub is out of reach (no network, or HF_HUB_OFFLINE is set) and the"
      " cache lacks it or a part of it. Check the spelling of a local folder,"
      f" or run `hf download {repo}{part}` where there is a network."
    )
  return f"Fetching {repo!r} from the hub failed: {error}"
