"""Many questions: order, retries, what is kept, when to give up."""

import threading
import time

import pytest

from tests.evals.judge import fakes
from unialign_jax.evals.judge import asking
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.judge import replies
from unialign_jax.evals.judge import rubrics
from unialign_jax.vlm import asking as vlm_asking


@pytest.fixture
def path(tmp_path):
  return tmp_path / "judgements.jsonl"


def test_results_are_in_the_order_of_questions_whatever_comes_first(path):
  together = threading.Barrier(5, timeout=20)  # five, or it is broken

  def reply(prompt, images, attempt):
    together.wait()
    time.sleep(0.01 * (9 - fakes.shade_of(images)))
    return fakes.say_shade(prompt, images, attempt)

  judge = fakes.FakeJudge(reply, concurrency=5)
  assert fakes.run(path, judge, range(10)) == [(n / 10,) for n in range(10)]
  assert judge.most_at_once == 5
  arrived = [line["key"] for line in fakes.lines(path)]
  assert arrived != [f"{n}/prompt-1" for n in range(10)]
  assert len(set(arrived)) == 10


def test_nothing_is_asked_twice(path):
  judge = fakes.FakeJudge(fakes.say_shade)
  first = fakes.run(path, judge, range(6))
  assert fakes.run(path, judge, range(8))[:6] == first
  assert len(judge.asked) == 8
  other = fakes.FakeJudge(fakes.say_shade, identity="another")
  fakes.run(path, other, range(6))
  assert len(other.asked) == 6


def test_a_picture_that_changed_is_judged_anew(path):
  judge = fakes.FakeJudge(fakes.say_shade)
  with ledger_lib.Ledger(path) as ledger:
    for shade in (10, 20):
      one = asking.question(
        "0", rubrics.PROMPT, "", lambda shade=shade: [fakes.picture(shade)]
      )
      (found,) = asking.answers(judge, [one], ledger, quiet=True)
      assert found == (shade / 10,)


def test_a_reply_without_scores_is_asked_for_again(path):
  def reply(prompt, images, attempt):
    return fakes.say_shade(prompt, images, attempt) if attempt == 2 else "Hm."

  judge = fakes.FakeJudge(reply)
  assert fakes.run(path, judge, [30]) == [(3.0,)]
  assert [attempt for _, attempt in judge.asked] == [0, 1, 2]
  found = fakes.lines(path)
  assert [line["reason"] for line in found] == ["no scores", "no scores", ""]
  assert [line["reply"] for line in found[:2]] == ["Hm.", "Hm."]
  assert found[2]["read"] == [3.0]
  assert found[0]["rubric"] == "prompt-1"
  assert found[0]["judge"] == "fake"


def test_attempts_are_bounded_over_all_runs(path):
  judge = fakes.FakeJudge(lambda *_: "[11]")
  for _ in range(3):
    (found,) = fakes.run(path, judge, [30])
    assert found.reason == "out of range"
  assert len(judge.asked) == 3
  (found,) = fakes.run(path, judge, [30], attempts=5)
  assert [attempt for _, attempt in judge.asked] == [0, 1, 2, 3, 4]


def test_a_run_that_was_cut_off_goes_on(path):
  stop = threading.Event()

  def reply(prompt, images, attempt):
    if fakes.shade_of(images) == 5:
      raise KeyboardInterrupt
    stop.wait(0.01)
    return fakes.say_shade(prompt, images, attempt)

  judge = fakes.FakeJudge(reply, concurrency=1)
  with pytest.raises(KeyboardInterrupt):
    fakes.run(path, judge, range(10))
  done = {line["key"] for line in fakes.lines(path)}
  assert len(done) >= 5
  second = fakes.FakeJudge(fakes.say_shade)
  assert fakes.run(path, second, range(10)) == [(n / 10,) for n in range(10)]
  assert len(second.asked) == 10 - len(done)


def test_what_can_be_read_in_kept_replies_may_grow(path):
  judge = fakes.FakeJudge(lambda *_: "seven")
  assert fakes.run(path, judge, [30])[0].reason == "no scores"
  one = fakes.question(30)
  better = asking.Question(
    key=one.key,
    rubric=one.rubric,
    prompt=one.prompt,
    images=one.images,
    parse=lambda reply: (7.0,) if reply == "seven" else (0.0,),
  )
  with ledger_lib.Ledger(path) as ledger:
    assert asking.answers(judge, [better], ledger, quiet=True) == [(7.0,)]
  assert len(judge.asked) == 3


def test_a_lost_reply_is_no_attempt(path):
  def lost(*_):
    raise judge_lib.JudgeError("timeout")

  (found,) = fakes.run(path, fakes.FakeJudge(lost), [30])
  assert found == replies.Unparsed("no reply", "timeout")
  assert [line["reply"] for line in fakes.lines(path)] == [None]
  judge = fakes.FakeJudge(fakes.say_shade)
  assert fakes.run(path, judge, [30]) == [(3.0,)]
  assert [attempt for _, attempt in judge.asked] == [0]


def test_refusals_are_attempts_and_stop_nothing(path):
  def refused(*_):
    raise judge_lib.JudgeRefused("content filter")

  judge = fakes.FakeJudge(refused)
  found = fakes.run(path, judge, range(12), attempts=2)
  assert found == [replies.Unparsed("refusal", "content filter")] * 12
  assert len(judge.asked) == 24
  assert fakes.run(path, judge, range(12), attempts=2) == found
  assert len(judge.asked) == 24


def rejected_but(*shades):
  """A judge that takes questions about these shades alone."""

  def reply(prompt, images, attempt):
    if fakes.shade_of(images) not in shades:
      raise judge_lib.JudgeRejected("http 400")
    return fakes.say_shade(prompt, images, attempt)

  return fakes.FakeJudge(reply, concurrency=1)


def test_rejections_by_a_judge_that_has_replied_are_attempts(path):
  judge = rejected_but(0)
  found = fakes.run(path, judge, range(15), attempts=2)
  assert found == [(0.0,), *[replies.Unparsed("rejected", "http 400")] * 14]
  assert len(judge.asked) == 1 + 14 * 2
  assert fakes.run(path, judge, range(15), attempts=2) == found
  assert len(judge.asked) == 1 + 14 * 2


def test_a_judge_that_rejects_all_is_lost_and_its_questions_are_not(path):
  """As one that is asked in a way it does not know, until that is mended."""
  with pytest.raises(asking.JudgeLost, match="http 400"):
    fakes.run(path, rejected_but(), range(100))
  judge = fakes.FakeJudge(fakes.say_shade)
  assert fakes.run(path, judge, range(12)) == [(n / 10,) for n in range(12)]


def test_what_a_judge_said_in_an_earlier_run_tells_that_it_replies(path):
  fakes.run(path, rejected_but(0), [0])
  judge = rejected_but()
  found = fakes.run(path, judge, range(1, 15), attempts=1)
  assert {one.reason for one in found} == {"rejected"}
  other = rejected_but()
  other.identity = "another"
  with pytest.raises(asking.JudgeLost):
    fakes.run(path, other, range(1, 15), attempts=1)


def test_a_reply_that_breaks_the_parser_is_kept_like_any_other(path):
  """And read again in the next run, when the parser may be mended."""

  def question(shade, parse):
    one = fakes.question(shade)
    return asking.Question(
      key=one.key,
      rubric=one.rubric,
      prompt=one.prompt,
      images=one.images,
      parse=parse,
    )

  def fragile(reply):
    return (float(reply),) if reply != "x" else (1 / 0,)

  judge = fakes.FakeJudge(
    lambda prompt, images, attempt: "x" if fakes.shade_of(images) == 1 else "2"
  )
  asked = [question(shade, fragile) for shade in range(3)]
  for _ in range(2):
    with ledger_lib.Ledger(path) as ledger:
      found = asking.answers(judge, asked, ledger, quiet=True)
    assert found[0] == found[2] == (2.0,)
    assert found[1].reason == "ZeroDivisionError in the parser"
    assert found[1].detail == "division by zero"
    assert len(judge.asked) == 2 + 3
  assert {line["reply"] for line in fakes.lines(path)} == {"2", "x"}
  mended = question(1, lambda reply: (7.0,))
  with ledger_lib.Ledger(path) as ledger:
    assert asking.answers(judge, [mended], ledger, quiet=True) == [(7.0,)]


def test_a_judge_that_is_gone_stops_the_run(path):
  def reply(prompt, images, attempt):
    if fakes.shade_of(images) >= 5:
      raise judge_lib.JudgeError("connection")
    return fakes.say_shade(prompt, images, attempt)

  judge = fakes.FakeJudge(reply, concurrency=1)
  with pytest.raises(asking.JudgeLost, match=r"10 questions in a row.*again"):
    fakes.run(path, judge, range(100))
  assert len(judge.asked) == 15


def test_what_no_question_survives_stops_the_run(path):
  def unusable(*_):
    raise vlm_asking.Unusable("wrong key")

  judge = fakes.FakeJudge(unusable, concurrency=1)
  with pytest.raises(vlm_asking.Unusable, match="wrong key"):
    fakes.run(path, judge, range(100))
  assert len(judge.asked) == 1


def test_keys_are_distinct_and_attempts_positive(path):
  judge = fakes.FakeJudge(fakes.say_shade)
  with pytest.raises(ValueError, match="keys more than once"):
    fakes.run(path, judge, [1, 1])
  with pytest.raises(ValueError, match="attempts: got 0"):
    fakes.run(path, judge, [1], attempts=0)
