"""What --data names: files on this machine, or a data set of the hub."""

import pathlib
import re

import huggingface_hub
from huggingface_hub import errors

from unialign_jax.evals import benchmark as benchmark_lib

_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find(given: str, benchmark: benchmark_lib.Benchmark) -> pathlib.Path | None:
  """The path of a benchmark's official files.

  Args:
    given: "" for none; a file or folder; or OWNER/NAME of a data set on the
      Hugging Face hub, of which `benchmark.hub_files` are fetched into the
      hub's own cache. A path that exists wins.
    benchmark: whose files.

  Raises:
    ValueError: there is no such path, and nothing can be fetched.
  """
  if not given:
    return None
  path = pathlib.Path(given).expanduser()
  if path.exists():
    return path
  if not benchmark.hub_files or not _ID.fullmatch(given):
    raise ValueError(
      f"--data={given}: got no such file or folder; expected"
      f" {benchmark.name}'s official files{_alternative(benchmark)}."
    )
  try:
    found = huggingface_hub.snapshot_download(
      given, repo_type="dataset", allow_patterns=list(benchmark.hub_files)
    )
  except (OSError, ValueError) as error:  # HFValidationError is a ValueError
    raise ValueError(
      f"--data={given}: got no such folder, and on the hub {_reason(error)};"
      " check the spelling."
    ) from error
  return pathlib.Path(found)


def _alternative(benchmark: benchmark_lib.Benchmark) -> str:
  if benchmark.hub_files:
    return ", or OWNER/NAME of a data set on the Hugging Face hub"
  return ", which are not read from the hub"


def _reason(error: Exception) -> str:
  """In one line; most special first."""
  if isinstance(error, errors.GatedRepoError):
    return (
      "it may not be read yet: accept the terms on its page, then `hf auth"
      " login`, or set HF_TOKEN"
    )
  if isinstance(error, errors.RepositoryNotFoundError):
    return "there is no such data set, or a private one (`hf auth login`)"
  if isinstance(error, errors.LocalEntryNotFoundError):
    return (
      "it cannot be fetched: the hub is out of reach (no network, or"
      " HF_HUB_OFFLINE is set) and the cache lacks it"
    )
  lines = str(error).split("\n")
  return f"it cannot be fetched ({type(error).__name__}: {lines[0][:200]})"
