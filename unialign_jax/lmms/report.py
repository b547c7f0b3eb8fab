"""What became of the requests of each task, which scores do not show."""

import collections
import dataclasses
import json
import os
import pathlib
from typing import Any


@dataclasses.dataclass
class _Task:
  """Numbers of documents, by what became of them."""

  num_requests: int = 0
  question_cut: list[Any] = dataclasses.field(default_factory=list)
  several_images: list[Any] = dataclasses.field(default_factory=list)
  answer_cut: list[Any] = dataclasses.field(default_factory=list)
  unanswered: dict[Any, str] = dataclasses.field(default_factory=dict)
  ignored: set[str] = dataclasses.field(default_factory=set)


class Report:
  """Counts while a run goes on.

  Args:
    policy: what was done about long questions and several images, in words.
  """

  def __init__(self, policy: str):
    self._policy = policy
    self._tasks: dict[str, _Task] = collections.defaultdict(_Task)

  def __getitem__(self, task: str) -> _Task:
    return self._tasks[task]

  def lines(self) -> list[str]:
    """A line a task, for the log."""
    return [
      f"{name}: {task.num_requests} requests, {len(task.question_cut)}"
      f" questions cut, {len(task.several_images)} with several images"
      f" ({self._policy}), {len(task.answer_cut)} answers cut,"
      f" {len(task.unanswered)} not answered; ignored:"
      f" {', '.join(sorted(task.ignored)) or 'nothing'}"
      for name, task in self._tasks.items()
    ]

  def nothing_answered(self) -> list[str]:
    """Tasks without any answer, and why."""
    return [
      f"{name} ({next(iter(task.unanswered.values()))})"
      for name, task in self._tasks.items()
      if task.num_requests and len(task.unanswered) == task.num_requests
    ]

  def write(self, path: str | os.PathLike[str]) -> None:
    """All of it as JSON."""
    tasks = {
      name: {**dataclasses.asdict(task), "ignored": sorted(task.ignored)}
      for name, task in self._tasks.items()
    }
    text = json.dumps({"policy": self._policy, "tasks": tasks}, indent=2)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(text + "\n", encoding="utf-8")
