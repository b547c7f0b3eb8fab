"""ImgEdit-Bench as a command uses it."""

import json
import pathlib
import threading

import pytest
from PIL import Image

from tests.evals.imgedit import files
from unialign_jax.evals import registry
from unialign_jax.evals.imgedit import benchmark as imgedit
from unialign_jax.evals.imgedit import dataset
from unialign_jax.evals.imgedit import judging
from unialign_jax.evals.imgedit import replies
from unialign_jax.evals.imgedit import rubrics

_BENCHMARK = imgedit.BENCHMARK
_PART = {"partial": "true"}


class FakeJudge:
  """Reads its scores in the result's pixel, after some nonsense."""

  identity = "fake"
  libraries = "none"
  concurrency = 2

  def __init__(self, nonsense: int = 0):
    self.prompts, self.sizes = [], []
    self._nonsense = nonsense
    self._mutex = threading.Lock()

  def ask(self, prompt, images, *, attempt: int = 0) -> str:
    with self._mutex:
      self.prompts.append(prompt)
      self.sizes.append([image.size for image in images])
    if attempt < self._nonsense:
      return "Well done: very"
    return files.reply(*images[1].getpixel((0, 0)))


@pytest.fixture
def data(tmp_path: pathlib.Path) -> pathlib.Path:
  return files.write_official(tmp_path / "data", "singleturn")


def _make(out: pathlib.Path, scores: dict[str, tuple[int, int, int]]) -> None:
  out.mkdir(parents=True, exist_ok=True)
  for key, shades in scores.items():
    Image.new("RGB", (5, 5), shades).save(out / f"{key}.png")


def _score(out, data, judge=None, **settings: str):
  return _BENCHMARK.score(out, data, _PART | settings, judge)


def _value(result, group: str, metric: str = "score") -> float | None:
  (score,) = (
    s for s in result.scores if s.group == group and s.metric == metric
  )
  return score.value


def test_it_is_registered():
  assert registry.load("imgedit") is _BENCHMARK


def test_the_folder_is_flat(tmp_path, data):
  wanted = _BENCHMARK.wanted(data, _PART)
  assert [one.path for one in wanted] == [
    "1082.png",
    "7.png",
    "673.png",
    "90.png",
  ]
  assert [one.group for one in wanted] == [kind for _, kind, _ in files.ITEMS]
  assert wanted[0].text == "change 1082"
  assert wanted[0].images == (data / "singleturn/animal/1.jpg",)
  assert {one.framing for one in wanted} == {"squash"}
  out = tmp_path / "out"
  _make(out, {"7": (1, 1, 1)})
  _BENCHMARK.finish(out, data, _PART)
  assert [path.name for path in out.iterdir()] == ["7.png"]


def test_the_whole_benchmark_is_737_pictures(tmp_path, data):
  (data / "basic_edit.json").write_text(json.dumps(files.whole()))
  wanted = _BENCHMARK.wanted(data, {})
  assert len(wanted) == len({one.path for one in wanted}) == 737


_SCORES = {"1082": (4, 3, 4), "7": (2, 2, 1), "673": (5, 4, 4)}


def test_a_judge_scores_in_one_question_a_picture(tmp_path, data):
  out = tmp_path / "out"
  _make(out, _SCORES)
  judge = FakeJudge()
  result = _score(out, data, judge)
  assert _value(result, "adjust") == pytest.approx(8 / 3)
  assert _value(result, "style") == pytest.approx(13 / 3)
  assert _value(result, "extract") == 0.0  # the picture is missing
  assert _value(result, "Overall") == pytest.approx(7 / 3)
  assert _value(result, "adjust", "score, as released") == 2.67
  assert _value(result, "Overall", "score, as released") is None
  assert not result.official
  assert any("1 pictures are missing" in note for note in result.notes)
  assert len(judge.prompts) == 3
  # The source, then the result, each as it is.
  assert judge.sizes == [[(12, 8), (5, 5)]] * 3
  again = FakeJudge()
  assert _score(out, data, again).scores == result.scores
  assert again.prompts == []


def test_replies_are_written_as_the_official_file(tmp_path, data):
  out = tmp_path / "out"
  _make(out, _SCORES)
  own = _score(out, data, FakeJudge(nonsense=1))
  written = json.loads((out / judging.REPLIES).read_text())
  # The official scripts find no score in who made it.
  assert replies.as_released(written["made_by"]) is None
  assert written.pop("made_by") == "fake (asked with none)"
  assert written == {
    key: files.reply(*scores) for key, scores in _SCORES.items()
  }
  with pytest.raises(ValueError, match="replies of a judge here"):
    _score(out, data, results=str(out / judging.REPLIES))
  path = tmp_path / "result.json"
  path.write_bytes((out / judging.REPLIES).read_bytes())
  with pytest.raises(ValueError, match="replies of a judge here"):
    _score(out, data, results=str(path))
  _write(path, written)
  read = _score(out, data, results=str(path))
  assert read.official and read.scores == own.scores


def test_a_reply_that_is_no_unicode_loses_no_judging(tmp_path, data):
  """Half a surrogate pair, as JSON can bring it."""
  out = tmp_path / "out"
  _make(out, _SCORES)
  judge = FakeJudge()
  said = "\ud800\u00e4\n" + files.reply(4, 3, 4)
  judge.ask = lambda prompt, images, *, attempt=0: said
  result = _score(out, data, judge)
  assert _value(result, "style") == pytest.approx(11 / 3)
  written = json.loads((out / judging.REPLIES).read_text(encoding="utf-8"))
  assert written["7"] == said
  again = FakeJudge()
  assert _score(out, data, again).scores == result.scores
  assert again.prompts == []


def test_what_cannot_be_read_has_no_score(tmp_path, data):
  out = tmp_path / "out"
  _make(out, _SCORES)
  judge = FakeJudge(nonsense=9)
  result = _score(out, data, judge, attempts="2")
  assert len(judge.prompts) == 6
  assert _value(result, "adjust") is None
  assert any("3 pictures got no score" in note for note in result.notes)
  assert set(json.loads((out / judging.REPLIES).read_text())) == {"made_by"}


_RAW = {
  "1082": files.reply(4, 3, 4),
  "7": files.reply(2, 2, "1."),  # as released: 2
  "673": {"error": "Image conversion failed"},
  "90": files.reply(3, 4, 3),
}


def _write(path: pathlib.Path, texts) -> pathlib.Path:
  path.write_text(json.dumps(texts))
  return path


def test_official_replies_have_the_official_numbers(tmp_path, data):
  path = _write(tmp_path / "result.json", _RAW)
  result = _score(tmp_path, data, results=str(path))
  assert result.official and result.protocol == "repaired"
  assert _value(result, "adjust") == pytest.approx((11 / 3 + 5 / 3) / 2)
  released = "score, as released"
  assert _value(result, "adjust", released) == pytest.approx(2.83)  # 2.835
  assert _value(result, "style") == 0.0
  assert _value(result, "style", released) is None
  assert any("1 replies have a score above" in note for note in result.notes)
  capped = _score(tmp_path, data, results=str(path), cap="true")
  assert _value(capped, "extract") == 3.0
  assert _value(result, "extract") == pytest.approx(10 / 3)
  compat = _score(tmp_path, data, results=str(path), compat="true")
  assert compat.protocol == "compat"
  assert _value(compat, "adjust") == _value(result, "adjust", released)
  assert {s.metric for s in compat.scores} == {"score"}
  # The call failed, but the picture is there: no fault of the model's.
  _make(tmp_path, {"673": (1, 1, 1)})
  result = _score(tmp_path, data, results=str(path))
  assert _value(result, "style") is None


def test_replies_of_other_items_are_refused(tmp_path, data):
  path = _write(tmp_path / "result.json", {"z9": "A: 1"})
  with pytest.raises(ValueError, match=r"got \['z9'\]"):
    _score(tmp_path, data, results=str(path))
  path.write_text("[1]")
  with pytest.raises(ValueError, match=r"result\.json"):
    _score(tmp_path, data, results=str(path))


def test_rubrics_are_by_type_and_ask_for_the_official_format():
  texts = {kind: rubrics.question(kind, "make it") for kind in dataset.COUNTS}
  for text in texts.values():
    assert "<<<\nmake it\n>>>" in text
    assert "Brief reasoning" in text
    assert text.count(": number") == 3
  assert len(set(texts.values())) == 4  # common, style, action, extract
  assert texts["add"] == texts["compose"]


def test_the_users_copy_of_the_official_words_is_asked(tmp_path, data):
  out = tmp_path / "out"
  _make(out, _SCORES)
  own = FakeJudge()
  _score(out, data, own)
  words = {kind: f"Rate {kind}: <edit_prompt>" for kind in dataset.COUNTS}
  path = _write(tmp_path / "prompts.json", words)
  judge = FakeJudge()
  result = _score(out, data, judge, rubrics=str(path))
  # Other words are other questions, though the ledger has answers.
  assert sorted(judge.prompts) == [
    "Rate adjust: change 1082",
    "Rate adjust: change 7",
    "Rate style: change 673",
  ]
  assert not result.official
  assert any(str(path) in note for note in result.notes)
  for wrong in ({}, words | {"add": "no place"}):
    _write(path, wrong)
    with pytest.raises(ValueError, match=r"--set rubrics=.*prompts\.json"):
      _score(out, data, FakeJudge(), rubrics=str(path))


@pytest.mark.parametrize(
  "settings, message",
  [
    ({}, "neither"),
    ({"result": "x"}, "did you mean results"),
    ({"cap": "some"}, "expected bool"),
    ({"protocol": "release"}, "--protocol"),
  ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, data, settings, message):
  with pytest.raises(ValueError, match=message):
    _score(tmp_path, data, **settings)
  path = _write(tmp_path / "result.json", _RAW)
  with pytest.raises(ValueError, match="both a judge"):
    _score(tmp_path, data, FakeJudge(), results=str(path))
