"""Judges whose every reply is known."""

import json
import threading
from collections.abc import Callable
from collections.abc import Sequence

from PIL import Image

from unialign_jax.evals.judge import asking
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.judge import rubrics

Reply = Callable[[str, Sequence[Image.Image], int], str]


class FakeJudge:
  """Says `reply(prompt, images, attempt)` and notes what it was asked."""

  def __init__(
    self, reply: Reply, *, identity: str = "fake", concurrency: int = 4
  ):
    self.identity = identity
    self.libraries = "none"
    self.concurrency = concurrency
    self.asked: list[tuple[str, int]] = []
    self.images: list[tuple[Image.Image, ...]] = []
    self.most_at_once = 0
    self._at_once = 0
    self._mutex = threading.Lock()
    self._reply = reply

  def ask(
    self, prompt: str, images: Sequence[Image.Image], *, attempt: int = 0
  ) -> str:
    with self._mutex:
      self.asked.append((prompt, attempt))
      self.images.append(tuple(images))
      self._at_once += 1
      self.most_at_once = max(self.most_at_once, self._at_once)
    try:
      return self._reply(prompt, images, attempt)
    finally:
      with self._mutex:
        self._at_once -= 1


def picture(shade):
  return Image.new("RGB", (4, 4), (shade, shade, shade))


def question(shade, rubric=rubrics.PROMPT):
  return asking.question(
    f"{shade}/{rubric.id}", rubric, f"prompt {shade}", lambda: [picture(shade)]
  )


def shade_of(images):
  return images[0].getpixel((0, 0))[0]


def say_shade(prompt, images, attempt):
  del prompt, attempt
  return f'{{"score": [{shade_of(images) / 10}]}}'


def run(path, judge, shades, **options):
  with ledger_lib.Ledger(path) as ledger:
    questions = [question(shade) for shade in shades]
    return asking.answers(judge, questions, ledger, quiet=True, **options)


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]
