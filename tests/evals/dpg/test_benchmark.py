"""DPG-Bench as a command uses it."""

import json
import pathlib
import threading

import pytest
from PIL import Image

from tests.evals import tiny_models
from tests.evals.dpg import files
from unialign_jax.evals import registry
from unialign_jax.evals.dpg import benchmark as dpg
from unialign_jax.evals.dpg import layout
from unialign_jax.evals.dpg import scoring
from unialign_jax.evals.dpg import vqa
from unialign_jax.evals.judge import replies

_BENCHMARK = dpg.BENCHMARK
_PART = {"partial": "true", "samples": "2"}
_YES = {"1": "yes", "2": "yes", "3": "yes", "4": "yes"}


class FakeJudge:
  """Says yes to what the picture's red allows, after some nonsense.

  Question n of `files.ROWS` is yes where bit n of the red is set.
  """

  identity = "fake"
  libraries = "none"
  concurrency = 2

  def __init__(self, nonsense: int = 0):
    self.asked = 0
    self._nonsense = nonsense
    self._mutex = threading.Lock()

  def ask(self, prompt, images, *, attempt: int = 0) -> str:
    with self._mutex:
      self.asked += 1
    if attempt < self._nonsense:
      return "I cannot see that."
    (picture,) = images
    assert "yes or no" in prompt
    (number,) = (
      number
      for number, (*_, question) in enumerate(files.ROWS)
      if prompt.endswith(f"Question: {question}")
    )
    red, green, _ = picture.getpixel((0, 0))
    return "Yes." if (red + 256 * green) >> number & 1 else "no"


@pytest.fixture
def data(tmp_path: pathlib.Path) -> pathlib.Path:
  return files.write_data(tmp_path / "data")


def _make(out: pathlib.Path, bits: dict[tuple[str, int], str]) -> None:
  """Pictures whose answers are the bits, by the item's questions."""
  firsts = {"a1": 0, "b": 4, "c3": 6}
  for (item, number), verdicts in bits.items():
    value = sum(
      1 << firsts[item] + n for n, v in enumerate(verdicts) if v == "y"
    )
    path = out / layout.sample(item, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value % 256, value // 256, 0)).save(path)


_BITS = {
  ("a1", 0): "yyyy",
  ("a1", 1): "nyyy",
  ("b", 0): "yn",
  ("b", 1): "yn",
  ("c3", 0): "yny",
}
# (1 + 1/4) / 2, 1/2, (1/3 + 0) / 2: one picture of c3 is missing.
_SCORE = 100 * (0.625 + 0.5 + 1 / 6) / 3


def _value(result, group: str, metric: str) -> float | None:
  (score,) = (
    s for s in result.scores if s.group == group and s.metric == metric
  )
  return score.value


def _score(out, data, judge=None, **settings: str):
  return _BENCHMARK.score(out, data, _PART | settings, judge)


def test_it_is_registered():
  assert registry.load("dpg") is _BENCHMARK


def test_the_whole_benchmark_is_4260_pictures(tmp_path: pathlib.Path):
  path = tmp_path / "p.json"
  path.write_text(json.dumps({f"{n}.txt": "text" for n in range(1065)}))
  wanted = _BENCHMARK.wanted(path, {})
  assert len(wanted) == len({one.path for one in wanted}) == 4260


def test_a_judge_answers_and_what_is_missing_counts_0(tmp_path, data):
  out = tmp_path / "out"
  _make(out, _BITS)
  judge = FakeJudge()
  result = _score(out, data, judge)
  assert _value(result, "Overall", "score") == pytest.approx(_SCORE)
  assert judge.asked == 4 + 4 + 2 + 2 + 3
  assert not result.official
  assert any("1 pictures are missing" in note for note in result.notes)
  assert any("not by mPLUG" in note for note in result.notes)
  # As released: question 1 of a1 is lost, and 2 depends on it: a1 is dropped;
  # c3 lacks a picture. What is left is b.
  assert _value(result, "Overall", "score, as released") == pytest.approx(50)
  again = FakeJudge()
  assert _score(out, data, again).scores == result.scores
  assert again.asked == 0


def test_replies_that_are_no_answer_are_asked_for_again(tmp_path, data):
  out = tmp_path / "out"
  _make(out, _BITS)
  judge = FakeJudge(nonsense=2)
  result = _score(out, data, judge)
  assert judge.asked == 3 * 15
  assert _value(result, "Overall", "score") == pytest.approx(_SCORE)


def test_what_is_never_answered_is_in_no_mean(tmp_path, data):
  out = tmp_path / "out"
  _make(out, _BITS)
  result = _score(out, data, FakeJudge(nonsense=9))
  # Of the missing picture alone it is known what it counts.
  assert _value(result, "Overall", "score") == 0.0
  (overall, *_) = result.scores
  assert (overall.scored, overall.expected) == (1, 6)
  assert any("15 questions got no answer" in note for note in result.notes)


def _raw(tmp_path: pathlib.Path, drop: str = "") -> pathlib.Path:
  """The official files of `_BITS`, all four pictures of c3 with them."""
  no = {"2": "no"}
  answers = {
    "a1": [_YES],  # then the script fails: question 2 depends on a lost one
    "b": [_YES | no, _YES | no],
    "c3": [_YES | no, _YES | {"1": "no"}],
  }
  scores = {"b": [0.5, 0.5, 0.5], "c3": [1 / 3, 1 / 3, 1 / 3]}
  answers.pop(drop, None)
  scores.pop(drop, None)
  return files.write_raw(tmp_path, answers, scores)


def test_official_files_have_the_official_numbers(tmp_path, data):
  result = _score(tmp_path, data, results=str(_raw(tmp_path)))
  released = "score, as released"
  assert result.official
  assert _value(result, "Overall", released) == pytest.approx(
    100 * (0.5 + 1 / 3) / 2
  )
  # The last crops: b y n; c3 n y y.
  assert _value(result, "entity", released) == 100.0
  assert _value(result, "other", released) == 0.0
  assert _value(result, "global", released) == 0.0
  assert _value(result, "relation", released) == 100.0
  # Repaired: of a1 only question 4 of crop 0 is known to be worth its yes.
  assert _value(result, "Overall", "score") == pytest.approx(
    100 * (1 + 0.5 + 1 / 3) / 3
  )
  assert _value(result, "relation", "score") == 0.0
  assert _value(result, "entity", "score") == pytest.approx(100 * 3 / 4)
  assert any("1 prompts have no score in res.txt" in n for n in result.notes)
  assert not any("other scores" in note for note in result.notes)


def test_a_prompt_that_the_official_files_lack_counts_0(tmp_path, data):
  result = _score(tmp_path, data, results=str(_raw(tmp_path, drop="c3")))
  assert _value(result, "Overall", "score") == pytest.approx(100 * 1.5 / 3)
  assert _value(result, "Overall", "score, as released") == 50.0
  assert _value(result, "relation", "score") == 0.0
  assert any("2 prompts have no score" in note for note in result.notes)


def test_compat_has_one_column(tmp_path, data):
  result = _score(
    tmp_path, data, results=str(_raw(tmp_path)), protocol="compat"
  )
  assert result.protocol == "compat"
  assert {score.metric for score in result.scores} == {"score"}
  assert _value(result, "Overall", "score") == pytest.approx(
    100 * (0.5 + 1 / 3) / 2
  )


def test_scores_that_contradict_the_answers_are_named(tmp_path, data):
  path = _raw(tmp_path)
  text = path.read_text().replace("b.png, 0.5, 0.5, 0.5", "b.png, 0.5, 1, 0.7")
  path.write_text(text)
  result = _score(tmp_path, data, results=str(path))
  (note,) = (note for note in result.notes if "other scores" in note)
  assert "1 prompts" in note and "b" in note


def test_without_questions_the_scores_and_the_print_are_what_there_is(
  tmp_path, data
):
  (data / "dpg_bench.csv").unlink()
  result = _score(tmp_path, data, results=str(_raw(tmp_path)))
  mean = (0.5 + 1 / 3) / 2
  assert _value(result, "Overall", "score, as released") == pytest.approx(
    100 * mean
  )
  assert _value(result, "Overall", "score") == pytest.approx(200 * mean / 3)
  assert _value(result, "entity", "score, as released") == 50.0
  with pytest.raises(ValueError, match=r"got no dpg_bench\.csv"):
    _score(tmp_path, data, FakeJudge())


def test_both_answers_are_compared_question_by_question(tmp_path, data):
  out = tmp_path / "out"
  _make(out, _BITS | {("c3", 1): "nyy"})
  path = str(_raw(tmp_path))
  result = _score(out, data, FakeJudge(), results=path)
  assert _value(result, "Agreement", "equal verdicts") == 1.0
  assert _value(result, "Agreement", "Cohen's kappa") == 1.0
  (equal,) = (s for s in result.scores if s.metric == "equal verdicts")
  assert (equal.scored, equal.expected) == (3 + 4 + 6, 18)
  _make(out, {("c3", 1): "yyy"})
  result = _score(out, data, FakeJudge(), results=path)
  assert _value(result, "Agreement", "equal verdicts") == pytest.approx(12 / 13)
  own = _value(result, "Overall", "score, other answers")
  assert own == pytest.approx(100 * (0.625 + 0.5 + (1 / 3 + 1) / 2) / 3)


def test_files_that_do_not_belong_together_are_refused(tmp_path, data):
  path = _raw(tmp_path)
  path.write_text("im/z9.png, 0.5, 0.5\n" + path.read_text())
  with pytest.raises(ValueError, match=r"scores of \['z9'\]"):
    _score(tmp_path, data, results=str(path))
  with pytest.raises(ValueError, match="b: got 2 samples, expected 1"):
    _score(tmp_path, data, results=str(_raw(tmp_path)), samples="1")
  detail = tmp_path / "res_detail.txt"
  detail.write_text("im/z9.png, (0, 0, 8, 8), q, yes\n" + detail.read_text())
  with pytest.raises(ValueError, match=r"pictures of \['z9'\]"):
    _score(tmp_path, data, results=str(tmp_path / "res.txt"))


def test_questions_must_be_of_all_prompts(tmp_path, data):
  files.write_questions(data / "dpg_bench.csv", files.ROWS[:6])
  with pytest.raises(ValueError, match=r"no questions about \['c3'\]"):
    _score(tmp_path, data, FakeJudge())
  other = files.write_questions(tmp_path / "all.csv")
  _score(tmp_path, data, FakeJudge(), questions=str(other))
  with pytest.raises(ValueError, match="no such file"):
    _score(tmp_path, data, FakeJudge(), questions=str(tmp_path / "none.csv"))


@pytest.mark.parametrize("make", [tiny_models.blip, tiny_models.vilt])
def test_a_vqa_model_of_transformers_answers(tmp_path, data, make):
  make(tmp_path / "vqa")
  model = vqa.Transformers(str(tmp_path / "vqa"))
  picture = Image.effect_noise((20, 20), 90).convert("RGB")
  said = model.ask("is there a dog ?", [picture])
  assert isinstance(said, str)
  assert model.ask("is there a dog ?", [picture], attempt=1) == said
  out = tmp_path / "out"
  _make(out, _BITS)
  result = _score(out, data, vqa=str(tmp_path / "vqa"))
  # Whatever it says, it is an answer: yes, or not that word.
  assert all(score.scored == score.expected for score in result.scores
             if score.metric == "score")  # fmt: skip
  assert len((out / scoring.FILE).read_text().splitlines()) == 15


def test_vilt_says_the_likeliest_of_its_answers(tmp_path):
  tiny_models.vilt(tmp_path)
  model = vqa.Transformers(str(tmp_path))
  picture = Image.new("RGB", (32, 32), "red")
  last = model._model.classifier[-1]
  for number, answer in enumerate(("yes", "no", "two")):
    last.weight.data.zero_()
    last.bias.data.zero_()
    last.bias.data[number] = 1.0
    assert model.ask("is there a dog ?", [picture]) == answer


def test_other_models_are_refused(tmp_path):
  tiny_models.clip(tmp_path)
  with pytest.raises(ValueError, match="--set vqa="):
    vqa.Transformers(str(tmp_path))


@pytest.mark.parametrize(
  "reply, expected",
  [
    ("yes", (1.0,)),
    ("Yes.", (1.0,)),
    ("**No**, there is none", (0.0,)),
    ("<think>no, wait</think> yes", (1.0,)),
    ("", "empty"),
    ("Perhaps yes", "neither yes nor no"),
    ("yesterday", "neither yes nor no"),
    ("nothing", "neither yes nor no"),
  ],
)
def test_replies_of_judges(reply: str, expected):
  found = vqa.parse(reply)
  got = found.reason if isinstance(found, replies.Unparsed) else found
  assert got == expected


def test_replies_of_vqa_models_are_yes_or_something_else():
  assert vqa.parse_strictly("yes") == (1.0,)
  for reply in ("Yes", "yes.", "", "two"):
    assert vqa.parse_strictly(reply) == (0.0,)


@pytest.mark.parametrize(
  "settings, message",
  [
    ({}, "nobody who answers"),
    ({"samples": "5"}, "1 to 4"),
    ({"question": "x"}, "did you mean questions"),
  ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, data, settings, message):
  with pytest.raises(ValueError, match=message):
    _score(tmp_path, data, **settings)
