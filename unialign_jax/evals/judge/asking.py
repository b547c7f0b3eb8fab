"""Many questions to a judge: at once, again where needed, never twice."""

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable
from collections.abc import Sequence

import tqdm
from PIL import Image

from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.judge import replies
from unialign_jax.evals.judge import rubrics

_MOST_LOST = 10  # questions in a row that got no reply
Read = replies.Scores | str | replies.Unparsed  # one kind in a run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
  """One question about pictures.

  Attributes:
    key: its name in the ledger, which no other question there has.
    rubric: its id.
    prompt: what the judge is told.
    images: gives what it is shown, RGB, in order.
    parse: reads a reply: the scores in it, or a text.
  """

  key: str
  rubric: str
  prompt: str
  images: Callable[[], Sequence[Image.Image]]
  parse: Callable[[str], Read]


class JudgeLost(judge_lib.JudgeError):
  """So many questions got no reply that more of the same is to be expected."""


def question(
  key: str,
  rubric: rubrics.Rubric,
  text: str,
  images: Callable[[], Sequence[Image.Image]],
) -> Question:
  """A question of a rubric about pictures made from `text`."""
  return Question(
    key=key,
    rubric=rubric.id,
    prompt=rubric.question(text),
    images=images,
    parse=lambda reply: replies.parse(reply, rubric.count),
  )


def answers(
  judge: judge_lib.Judge,
  questions: Sequence[Question],
  ledger: ledger_lib.Ledger,
  *,
  attempts: int = 3,
  quiet: bool = False,
) -> list[Read]:
  """What a judge says, one result a question, in their order.

  What the ledger knows is not asked again. A reply that cannot be read is asked
  for again, `attempts` times in all, in this run and earlier ones together.
  That a filter refused a question or the server rejected it is such a reply.
  A question that got no reply at all ("no reply") may be asked in a later run.

  Args:
    judge: asked from `judge.concurrency` threads.
    questions: with keys of their own.
    ledger: gets every attempt as it comes.
    attempts: most replies to one question.
    quiet: without a bar.

  Raises:
    JudgeLost: ten questions in a row got no reply.
    vlm.asking.Unusable: none can be expected.
    ValueError: keys that are not distinct; attempts below 1.
  """
  if attempts < 1:
    raise ValueError(f"attempts: got {attempts}, expected at least 1.")
  if len({one.key for one in questions}) < len(questions):
    raise ValueError("questions: got keys more than once, expected each once.")
  asker = _Asker(judge, ledger, attempts)
  pool = concurrent.futures.ThreadPoolExecutor(judge.concurrency)
  try:
    futures = [pool.submit(asker.settle, one) for one in questions]
    done = concurrent.futures.as_completed(futures)
    for future in tqdm.tqdm(
      done, total=len(futures), unit="question", disable=quiet, smoothing=0
    ):
      future.result()
    return [future.result() for future in futures]
  finally:
    # After an error the questions under way are waited for, and kept.
    pool.shutdown(cancel_futures=True)


def _read(one: Question, reply: str) -> Read:
  """What is in a reply, whatever a judge may write."""
  try:
    return one.parse(reply)
  except Exception as error:  # one reply must not end the judging of all
    reason = f"{type(error).__name__} in the parser"
    return replies.Unparsed(reason, str(error)[:200])


class _Asker:
  """Settles questions, from many threads."""

  def __init__(
    self, judge: judge_lib.Judge, ledger: ledger_lib.Ledger, attempts: int
  ):
    self._judge = judge
    self._ledger = ledger
    self._attempts = attempts
    self._mutex = threading.Lock()
    self._lost_in_a_row = 0
    self._has_replied = ledger.has_reply_of(judge.identity)
    self._end: BaseException | None = None

  def settle(self, one: Question) -> Read:
    """The result of a question; after an error none is asked any more."""
    if self._end is not None:
      raise self._end
    try:
      return self._settle(one)
    except BaseException as error:
      self._end = error
      raise

  def _settle(self, one: Question) -> Read:
    images = one.images()
    asked = ledger_lib.digest(self._judge.identity, one.prompt, images)
    before = self._ledger.replies(one.key, asked)
    last: Read = replies.Unparsed("no reply")
    for line in before:
      # Read anew: what can be read in a reply may have grown since.
      last = _read(one, line.reply or "")
      if not isinstance(last, replies.Unparsed):
        return last
      last = replies.Unparsed(line.reason or last.reason, line.detail)
    for attempt in range(len(before), self._attempts):
      last = self._ask(one, asked, images, attempt)
      if not isinstance(last, replies.Unparsed) or last.reason == "no reply":
        break
    return last

  def _ask(
    self,
    one: Question,
    asked: str,
    images: Sequence[Image.Image],
    attempt: int,
  ) -> Read:
    try:
      reply = self._judge.ask(one.prompt, images, attempt=attempt)
    except judge_lib.JudgeError as error:
      return self._ask_failed(one, asked, attempt, error)
    self._has_replied = True
    self._count(None)
    result = _read(one, reply)
    self._note(one, asked, attempt, reply, result)
    return result

  def _ask_failed(
    self,
    one: Question,
    asked: str,
    attempt: int,
    error: judge_lib.JudgeError,
  ) -> replies.Unparsed:
    """Notes why there is no reply: of this question's own, or got lost."""
    own = None
    if isinstance(error, judge_lib.JudgeRefused):
      own = "refusal"
    elif isinstance(error, judge_lib.JudgeRejected) and self._has_replied:
      # A judge that has not said a word yet may reject whatever it is asked,
      # and then nothing is to be held against the questions.
      own = "rejected"
    result = replies.Unparsed(own or "no reply", str(error))
    self._note(one, asked, attempt, "" if own else None, result)
    self._count(None if own else error)
    return result

  def _note(
    self,
    one: Question,
    asked: str,
    attempt: int,
    reply: str | None,
    result: Read,
  ) -> None:
    failed = isinstance(result, replies.Unparsed)
    line = ledger_lib.Line(
      key=one.key,
      asked=asked,
      judge=self._judge.identity,
      libraries=self._judge.libraries,
      rubric=one.rubric,
      attempt=attempt,
      reply=reply,
      read=None if failed else result,
      reason=result.reason if failed else "",
      detail=result.detail if failed else "",
    )
    with self._mutex:
      self._ledger.add(line)

  def _count(self, error: judge_lib.JudgeError | None) -> None:
    with self._mutex:
      self._lost_in_a_row = self._lost_in_a_row + 1 if error else 0
      lost = self._lost_in_a_row
    if lost >= _MOST_LOST:
      raise JudgeLost(
        f"got no reply to {lost} questions in a row, the last time by"
        f" {error}; see {self._ledger.path}. Mend the cause and run the same"
        " command again: what is answered is not asked again"
      )
