"""From a folder of pictures to the table, with judges that look at them."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.evals.judge import fakes
from tests.evals.semgen import written
from unialign_jax.evals import registry
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import layout

BENCH = registry.load("semgen")
COUNT = 3
SETTINGS = {"items": str(COUNT)}
LONG, SEM, MULTI, EDIT = dataset.GROUPS


@pytest.fixture
def data(tmp_path):
  return written.write(tmp_path / "data", COUNT)


@pytest.fixture
def out(tmp_path, data):
  """Pictures of shades 10 x (1 + group) + key, all there."""
  folder = tmp_path / "out"
  for number, group in enumerate(dataset.GROUPS, start=1):
    for key in range(COUNT):
      written.draw(folder, group, key, 10 * number + key)
  BENCH.finish(folder, data, SETTINGS)
  return folder


def shade(image):
  return round(float(np.asarray(image.convert("L")).mean()))


def judge_shades(prompt, images, attempt):
  """Of the last picture: IC is its tens, PQ its ones, with better parts."""
  del attempt
  tens, ones = divmod(shade(images[-1]), 10)
  if "What it was asked for does not matter" in prompt:
    return json.dumps({"score": [10, ones]})
  if "Grade two things" in prompt:
    return json.dumps({"score": [tens, 9]})
  return json.dumps({"score": [tens + 5]})


def score(out, data, judge, **settings):
  result = BENCH.score(out, data, SETTINGS | settings, judge)
  values = {(s.group, s.metric): s.value for s in result.scores}
  return result, values


def samples(out, protocol="release"):
  text = (out / f"samples-{protocol}.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_what_is_wanted(data):
  wanted = BENCH.wanted(data, SETTINGS | {"seed": "5", "negative": "blurry"})
  assert len(wanted) == 4 * COUNT
  drawn, edited = wanted[1], wanted[2 * COUNT + 2]
  assert drawn.path == "fullset/t2i_long/1.png"
  assert (drawn.text, drawn.images) == ("t2i_long of 1", ())
  assert (drawn.guidance, drawn.steps, drawn.seed) == (7.0, 50, 6)
  assert (drawn.group, drawn.negative) == ("T2I_Long", "blurry")
  assert edited.path == "fullset/edit_multi/2.png"
  assert edited.text == "edit_multi of 2"
  assert edited.images == (data / "images" / "3.jpg",)
  assert (edited.guidance, edited.framing) == (9.0, "squash")
  assert len({one.path for one in wanted}) == len(wanted)


def test_sources_lie_beside_the_edits(out, data):
  names = {str(path.relative_to(out)) for path in out.rglob("*.png")}
  folders = ("t2i_long", "t2i_complex", "edit_multi", "edit_complex")
  assert names == {
    *(f"fullset/{name}/{k}.png" for name in folders for k in range(COUNT)),
    *(
      f"fullset/{name}/{k}_SRCIMG.png"
      for name in folders[2:]
      for k in (0, 1, 2)
    ),
  }
  for key, expected in ((0, 5), (1, 10), (2, 20)):
    with Image.open(out / layout.source(MULTI, key)) as image:
      assert (image.size, image.mode) == ((512, 512), "RGB")
      assert abs(shade(image) - expected) <= 1
  before = (out / layout.source(EDIT, 0)).stat().st_mtime_ns
  BENCH.finish(out, data, SETTINGS)
  assert (out / layout.source(EDIT, 0)).stat().st_mtime_ns == before


def test_release_protocol(out, data):
  judge = fakes.FakeJudge(judge_shades)
  result, values = score(out, data, judge)
  assert (result.benchmark, result.protocol) == ("semgen", "release")
  assert not result.official
  assert result.scorer == "fake (asked with none)"
  # IC = min(group, 9), PQ = min(10, key), O = mean of sqrt(group x key).
  for number, group in enumerate(dataset.GROUPS, start=1):
    expected = np.mean([np.sqrt(number * key) for key in range(COUNT)])
    assert values[group.name, "IC"] == number
    assert values[group.name, "PQ"] == 1.0
    assert values[group.name, "O"] == pytest.approx(expected)
  assert values["Average", "IC"] == 2.5
  assert len(judge.asked) == 2 * 4 * COUNT
  edits = [p for p, _ in judge.asked if "editing program" in p]
  assert len(edits) == 4 * COUNT  # drawn pictures too
  assert any("<<<\nt2i_complex of 2\n>>>" in prompt for prompt in edits)


def test_what_the_judge_is_shown(out, data):
  judge = fakes.FakeJudge(judge_shades, concurrency=1)
  score(out, data, judge)
  shown = {}
  for (prompt, _), images in zip(judge.asked, judge.images):
    if "<<<" in prompt:
      text = prompt.partition("<<<\n")[2].partition("\n>>>")[0]
      shown[text] = images
    else:
      assert len(images) == 1
      assert images[0].size == (32, 32)
  assert [image.size for image in shown["t2i_long of 1"]] == [(32, 32)]
  before, after = shown["edit_complex of 2"]
  # The result at the size of its source.
  assert before.size == after.size == (512, 512)
  assert (shade(before), shade(after)) == (20, 42)


def test_paper_protocol_and_the_judgements_both_share(out, data):
  score(out, data, fakes.FakeJudge(judge_shades))
  judge = fakes.FakeJudge(judge_shades)
  result, values = score(out, data, judge, protocol="paper")
  assert result.protocol == "paper"
  assert values["T2I_Long", "IC"] == 6.0
  assert values["T2I_Sem", "IC"] == 7.0
  assert values["Edit_Multi", "IC"] == 3.0
  # Only how drawn pictures follow their prompts is new.
  assert len(judge.asked) == 2 * COUNT
  assert all("drew from the prompt" in prompt for prompt, _ in judge.asked)
  assert samples(out)[0]["IC"] == 1.0
  assert samples(out, "paper")[0]["IC"] == 6.0


def test_missing_pictures_count_nothing(out, data):
  (out / layout.picture(LONG, 1)).unlink()
  (out / layout.picture(MULTI, 2)).write_bytes(b"no picture")
  result, values = score(out, data, fakes.FakeJudge(judge_shades))
  assert values["T2I_Long", "IC"] == pytest.approx(2 / 3)
  assert values["Edit_Multi", "PQ"] == pytest.approx(1 / 3)
  assert "2 pictures are missing and count 0." in result.notes
  rows = {(row["group"], row["key"]): row for row in samples(out)}
  assert rows["T2I_Long", 1]["status"] == "missing picture"
  assert rows["Edit_Multi", 2]["status"] == "unreadable picture"
  assert rows["Edit_Multi", 2]["O"] == 0.0
  assert all(score.scored == score.expected for score in result.scores)


def test_replies_without_scores_are_in_no_mean(out, data):
  def reply(prompt, images, attempt):
    if shade(images[-1]) == 12:  # T2I_Long, 2
      return "I'd rather not say."
    if shade(images[-1]) == 21 and "<<<" not in prompt:  # T2I_Sem, 1
      return '{"score": [11, 3]}'
    return judge_shades(prompt, images, attempt)

  judge = fakes.FakeJudge(reply)
  result, values = score(out, data, judge, attempts="2")
  assert values["T2I_Long", "PQ"] == 0.5
  assert values["T2I_Sem", "PQ"] == 1.0
  counts = {s.group: (s.scored, s.expected) for s in result.scores}
  assert counts["T2I_Long"] == counts["T2I_Sem"] == (2, 3)
  assert counts["Average"] == (10, 12)
  (note,) = [note for note in result.notes if "no score" in note]
  assert note == (
    "2 pictures got no score and are in no mean: 1 by IC: no scores,"
    " 1 by PQ: out of range."
  )
  assert sum(shade(images[-1]) == 12 for images in judge.images) == 4
  row = samples(out)[2]
  assert (row["IC"], row["PQ"], row["O"]) == (None, None, None)


def test_a_scoring_that_was_cut_off_goes_on(out, data):
  def cut_off(prompt, images, attempt):
    if shade(images[-1]) == 32:
      raise KeyboardInterrupt
    return judge_shades(prompt, images, attempt)

  first = fakes.FakeJudge(cut_off, concurrency=1)
  with pytest.raises(KeyboardInterrupt):
    score(out, data, first)
  kept = (out / "judgements.jsonl").read_text().count("\n")
  assert 0 < kept < 2 * 4 * COUNT
  second = fakes.FakeJudge(judge_shades)
  _, values = score(out, data, second)
  assert len(second.asked) == 2 * 4 * COUNT - kept
  assert values["Average", "IC"] == 2.5


def test_a_part_of_the_lines(out, data):
  result, values = score(out, data, fakes.FakeJudge(judge_shades), limit="2")
  assert values["T2I_Long", "PQ"] == 0.5
  assert any("first 2 of 3 lines" in note for note in result.notes)
  assert len(BENCH.wanted(data, SETTINGS | {"limit": 2})) == 8


def test_the_files_beside(out, data):
  result, _ = score(out, data, fakes.FakeJudge(judge_shades))
  logs = out / "generated"
  logs.mkdir()
  row = dict(group="T2I_Long", count=4, seconds=1.0, full=True, compiled=False)
  (logs / "batches-00000-of-00001.jsonl").write_text(json.dumps(row) + "\n")
  score(out, data, fakes.FakeJudge(judge_shades))
  table = (out / "table-release.md").read_text().splitlines()
  assert "| | T2I_Long | T2I_Sem | Edit_Multi | Edit_Sem | Average |" in table
  (ic,) = [line for line in table if line.startswith("| IC")]
  assert ic.startswith("| IC | 1.00 [1.00, 1.00] | 2.00 [2.00, 2.00] |")
  assert "| scored | 3 | 3 | 3 | 3 | 12 |" in table
  assert "| seconds a picture | 0.25 |  |  |  |  |" in table
  assert [line[2:] for line in table[-len(result.notes) :]] == list(
    result.notes
  )
  with Image.open(out / "best_worst-release.png") as sheet:
    assert sheet.width > 192 and sheet.height > 4 * 192
  rows = samples(out)
  assert len(rows) == 4 * COUNT
  assert rows[0] == {
    "group": "T2I_Long",
    "key": 0,
    "image_id": 1,
    "text": "t2i_long of 0",
    "status": "scored",
    "IC": 1.0,
    "PQ": 0.0,
    "O": 0.0,
  }


def test_a_folder_of_another_program(out, data):
  """Sources that are not there are made of the photographs."""
  expected, _ = score(out, data, fakes.FakeJudge(judge_shades))
  for path in out.rglob("*_SRCIMG.png"):
    path.unlink()
  again = fakes.FakeJudge(judge_shades)
  found, _ = score(out, data, again)
  assert found.scores == expected.scores
  assert again.asked == []  # the same pixels


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"protocol": "papr"}, "got 'papr', expected one of release, paper"),
    ({"limit": "-1"}, "limit=-1"),
    ({"attempts": "0"}, "attempts=0"),
    ({"sed": "1"}, "did you mean seed"),
  ],
)
def test_settings_that_are_none(data, settings, message):
  with pytest.raises(ValueError, match=message):
    BENCH.wanted(data, SETTINGS | settings)


def test_no_judge(out, data):
  with pytest.raises(ValueError, match="got no judge, expected --judge=URL"):
    BENCH.score(out, data, SETTINGS, None)


def test_a_judge_that_never_answers_gives_no_number(out, data):
  def lost(*_):
    raise judge_lib.JudgeError("connection")

  with pytest.raises(judge_lib.JudgeError, match="in a row"):
    score(out, data, fakes.FakeJudge(lost, concurrency=1))
