"""A trainer that does as it is told, under launch/run_forever.sh."""

import pathlib
import subprocess
import time

from tests.launch import programs

SCRIPT = str(programs.LAUNCH / "run_forever.sh")

# Does at its n-th start what line n of the file `plan` says.
_TRAINER = """
saves() {  # STEP: a finished checkpoint
  mkdir -p "$(printf '%s/checkpoints/step_%08d' run "$1")"
}
wants() {  # STEPS: of the run, as train.py writes it down
  mkdir -p run
  echo '{"sample": {"steps": 28}, "train": {"steps": '"$1"'}}' >run/config.json
}
echo start >>starts
eval "$(sed -n "$(wc -l <starts)p" plan)"
"""


class Runs:
  """A fake trainer in a folder, under the script.

  Attributes:
    folder: of the run and of the trainer's plan.
    fakes: the trainer, and a `sleep` that takes no time.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder = folder
    self.fakes = programs.Programs(folder / "bin")
    self.fakes.add("trainer", _TRAINER)
    self.fakes.add("sleep")
    self._words = ("trainer", "--workdir=run")

  def plan(self, *starts: str) -> None:
    (self.folder / "plan").write_text("\n".join(starts) + "\n")

  def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess:
    settings = {"FIRST_PAUSE": "1"} | settings
    return self.fakes.run(
      SCRIPT, *(words or self._words), cwd=self.folder, **settings
    )

  def begin(self, **settings: str) -> subprocess.Popen:
    """In the background, in a process group of its own, once it has begun."""
    process = subprocess.Popen(
      ["bash", SCRIPT, *self._words],
      env=self.fakes.environment(**settings),
      stderr=subprocess.PIPE,
      text=True,
      cwd=self.folder,
      start_new_session=True,
    )
    wait_for(self.folder / "ready")
    return process

  @property
  def starts(self) -> int:
    path = self.folder / "starts"
    return len(path.read_text().splitlines()) if path.exists() else 0

  @property
  def slept(self) -> int:
    return sum(int(words[1]) for words in self.fakes.calls("sleep"))


def wait_for(path: pathlib.Path) -> None:
  deadline = time.monotonic() + 60
  while not path.exists():
    assert time.monotonic() < deadline, f"no {path}"
    time.sleep(0.02)
