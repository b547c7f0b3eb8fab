"""What persons said of the prompts: accepted, edited or rejected.

Each decision is a JSON line with the text that was looked at, so that one
about a text that has changed since counts for nothing.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from unialign_jax.evals.semgen import dataset
from unialign_jax.vlm import journal

DECISIONS = ("accept", "edit", "reject")
_FIELDS = tuple(group.field for group in dataset.GROUPS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
  """Of one prompt; the names are the keys of a line.

  Attributes:
    image_id: of the item.
    field: of the prompt.
    text: that was looked at.
    decision: one of `DECISIONS`.
    new: the text in its place, where it is edited.
    comment: why it is rejected, for who writes another one.
    reviewer: who decided.
  """

  image_id: int
  field: str
  text: str
  decision: str
  new: str = ""
  comment: str = ""
  reviewer: str

  def __post_init__(self):
    problems = []
    if self.decision not in DECISIONS:
      problems.append(
        f"decision {self.decision!r}, expected one of {DECISIONS}"
      )
    if self.field not in _FIELDS:
      problems.append(f"field {self.field!r}, expected one of {_FIELDS}")
    if (self.decision == "edit") != bool(self.new.strip()):
      problems.append(f"new text {self.new!r}, expected one with edit alone")
    if self.decision == "accept" and not self.text.strip():
      problems.append("no text, expected one to accept")
    if not self.reviewer.strip():
      problems.append("no reviewer, expected a name")
    if problems:
      where = f"image_id {self.image_id}"
      raise ValueError(f"{where}: got {'; '.join(problems)}")


@dataclasses.dataclass
class State:
  """What was decided on one prompt.

  Attributes:
    rejected: all rejections, in order.
    last: the decision since the last rejection, if there is one.
  """

  rejected: list[Decision] = dataclasses.field(default_factory=list)
  last: Decision | None = None


class Reviews:
  """The decisions file, which one run or page reads and appends to.

  Args:
    path: of a local file; made where it is missing.

  Raises:
    ValueError: another run has it, or a line is no decision.
  """

  def __init__(self, path: pathlib.Path):
    self._journal = journal.Journal(path)
    self._states: dict[tuple[int, str], State] = {}
    try:
      for number, line in enumerate(self._journal.lines(), start=1):
        self._count(parse(line, f"{path}, line {number}"))
    except ValueError:
      self._journal.close()
      raise

  def __enter__(self) -> "Reviews":
    return self

  def __exit__(self, *exc_info: object) -> None:
    self.close()

  def close(self) -> None:
    self._journal.close()

  def state(self, image_id: int, field: str) -> State:
    """Of one prompt."""
    return self._states.get((image_id, field), State())

  def add(self, decision: Decision) -> None:
    """Writes a decision down."""
    self._journal.add(dataclasses.asdict(decision))
    self._count(decision)

  def _count(self, decision: Decision) -> None:
    key = (decision.image_id, decision.field)
    state = self._states.setdefault(key, State())
    if decision.decision == "reject":
      state.rejected.append(decision)
      state.last = None
    else:
      state.last = decision


def parse(line: bytes | str, where: str, **defaults: str) -> Decision:
  """A decision of a JSON line; keys that are none of it are left aside.

  Args:
    line: the text.
    where: of what file, for errors.
    **defaults: for keys that it lacks or has empty.

  Raises:
    ValueError: it is none.
  """
  names = {field.name for field in dataclasses.fields(Decision)}
  try:
    row: dict[str, Any] = json.loads(line)
    given = {k: v for k, v in row.items() if k in names and v != ""}
    return Decision(**(defaults | given))
  except (ValueError, TypeError, AttributeError) as error:
    raise ValueError(f"{where}: {error}") from error


def write_sheet(path: pathlib.Path, rows: Iterable[Mapping[str, Any]]) -> int:
  """Writes prompts for a person to decide on in an editor.

  Args:
    path: of the JSON lines: `image_id`, `field`, `image`, `text`, and empty
      `decision`, `new` and `comment`.
    rows: with the first four.

  Returns:
    How many.
  """
  empty = {"decision": "", "new": "", "comment": ""}
  lines = [json.dumps({**row, **empty}, ensure_ascii=False) for row in rows]
  path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
  return len(lines)


def read_sheet(
  path: pathlib.Path, reviewer: str, texts: Mapping[tuple[int, str], str]
) -> list[Decision]:
  """The decisions in a sheet; lines without one are left aside.

  Args:
    path: as `write_sheet` wrote it, with decisions put in.
    reviewer: who decided.
    texts: that count now, by image_id and field.

  Raises:
    ValueError: all lines that are no decision, or are about a text that has
      changed since, in one message.
  """
  found, problems = [], []
  lines = path.read_text(encoding="utf-8").splitlines()
  for number, line in enumerate(filter(str.strip, lines), start=1):
    where = f"line {number}"
    try:
      if not (json.loads(line) or {}).get("decision"):
        continue
      decision = parse(line, where, reviewer=reviewer)
      now = texts.get((decision.image_id, decision.field))
      if decision.text != now:
        raise ValueError(
          f"{where}: is about {decision.text[:60]!r}, expected {now!r}, as it"
          " is now; write the sheet anew"
        )
      found.append(decision)
    except (ValueError, AttributeError) as error:
      problems.append(str(error))
  if problems:
    raise ValueError(f"{path}:\n  " + "\n  ".join(problems[:20]))
  return found
