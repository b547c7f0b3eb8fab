"""A TPU slice that gcloud tells of, round by round."""

import pathlib
import shutil
import subprocess

from tests.launch import programs

SETTINGS = {
  "PROJECT": "p",
  "ZONE": "z",
  "NAME": "stage2",
  "ACCELERATOR": "v6e-64",
  "NFS": "10.0.0.2:/share",
  "BUCKET": "b",
  "POLL": "0",
}

# Answers with the next file of a state for each question. Each round of
# `forever` asks for the queued resource first.
_GCLOUD = r"""
round() { ls rounds 2>/dev/null | wc -l; }
answer() { local path="answers/$(round)/$1"
  [[ -e $path ]] || { echo "round $(round) has no $1" >&2; exit 9; }
  cat "$path"; [[ ! -e $path.status ]] || exit "$(cat "$path.status")"; }
case "$*" in
  *queued-resources\ list*) mkdir -p "rounds/$(round)"; answer queued ;;
  *tpu-vm\ list*) answer node ;;
  *tpu_host.sh\ status*) answer hosts ;;
esac
fail=answers/$(round)/fail
[[ ! -e $fail || $* != *$(cat "$fail")* ]]
"""
_COMMITTER = "-c user.name=x -c user.email=x@x"
VERBS = {
  "queued-resources create": "create",
  "queued-resources delete": "delete",
  "tpu-vm scp": "copy",
  "tpu_host.sh install": "install",
  "tpu_host.sh run": "run",
  "tpu_host.sh stop": "stop",
}


class Slice:
  """A clone of its own, a fake gcloud, and what was asked of it."""

  def __init__(self, folder: pathlib.Path) -> None:
    self._folder = folder
    self._programs = programs.Programs(folder / "bin")
    self._programs.add("gcloud", _GCLOUD)
    self._rounds = 0
    self._clone = folder / "clone"
    shutil.copytree(programs.LAUNCH, self._clone / "launch")
    for words in ("init -q", "add .", f"{_COMMITTER} commit -qm x"):
      subprocess.run(f"git {words}".split(), cwd=self._clone, check=True)

  def then(
    self,
    queued: str,
    node: str | None = None,
    hosts: str | None = None,
    *,
    status: int = 0,
    fail: str | None = None,
  ) -> None:
    """The next round: states that are told, and what fails in it."""
    self._rounds += 1
    folder = self._folder / "answers" / str(self._rounds)
    folder.mkdir(parents=True)
    answers = {"queued": queued, "node": node, "hosts": hosts, "fail": fail}
    for name, text in answers.items():
      if text is not None:
        (folder / name).write_text(text)
    if status:
      (folder / "queued.status").write_text(str(status))

  def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess:
    script = str(self._clone / "launch" / "tpu_vm.sh")
    return self._programs.run(
      script, *words, cwd=self._folder, **(SETTINGS | settings)
    )

  @property
  def is_over(self) -> bool:
    """Whether no round is left."""
    return len([*(self._folder / "rounds").iterdir()]) == self._rounds

  @property
  def calls(self) -> list[list[str]]:
    return self._programs.calls("gcloud")

  @property
  def done(self) -> list[str]:
    """What gcloud was asked to change, in order."""
    calls = (" ".join(words) for words in self.calls)
    found = ([v for k, v in VERBS.items() if k in call] for call in calls)
    return [verb for verbs in found for verb in verbs]

  def asked(self, verb: str) -> list[str]:
    """The words of the first call for it."""
    (text,) = (k for k, v in VERBS.items() if v == verb)
    return next(words for words in self.calls if text in " ".join(words))
