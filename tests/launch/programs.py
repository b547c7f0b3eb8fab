"""Stand-ins for gcloud, srun and the like, and what was asked of them."""

import os
import pathlib
import subprocess
from collections.abc import Mapping

LAUNCH = pathlib.Path(__file__).resolve().parents[2] / "launch"


class Programs:
  """A folder in front of PATH; every call of its programs is noted.

  Attributes:
    folder: of the programs.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder = folder
    self._log = folder / "calls"
    folder.mkdir(exist_ok=True)

  def add(self, name: str, then: str = "", path: pathlib.Path | None = None):
    """A program that notes its words, then runs these lines of bash.

    Args:
      name: under which its calls are noted.
      then: bash, after the note.
      path: of the program, if it is not to be in the folder.
    """
    path = path or self.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    note = f"""printf '%s\\0' {name} "$@" $'\\n' >>{self._log}"""
    path.write_text(f"#!/usr/bin/env bash\n{note}\n{then}\n")
    path.chmod(0o755)

  def calls(self, *names: str) -> list[list[str]]:
    """Name and words of every call so far, of these programs or all."""
    if not self._log.exists():
      return []
    lines = self._log.read_text().split("\0\n\0")[:-1]
    calls = [line.split("\0") for line in lines]
    return [words for words in calls if not names or words[0] in names]

  def environment(self, **settings: str) -> Mapping[str, str]:
    """The environment, less what would be a setting of a launcher."""
    kept = {
      k: os.environ[k] for k in ("PATH", "HOME", "LANG") if k in os.environ
    }
    return kept | {"PATH": f"{self.folder}:{kept['PATH']}"} | settings

  def run(
    self, *words: str, cwd: pathlib.Path | None = None, **settings: str
  ) -> subprocess.CompletedProcess:
    """bash WORDS... with these programs and typed words; output is kept."""
    return subprocess.run(
      ["bash", *words],
      input="typed\n",
      env=self.environment(**settings),
      capture_output=True,
      text=True,
      timeout=120,
      cwd=cwd,
      check=False,
    )
