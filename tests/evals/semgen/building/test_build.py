"""A set from a folder of photographs to the files, and reviewed."""

import json
import pathlib

import pytest

from tests.evals.judge import fakes
from tests.evals.semgen.building import writer
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import embedding
from unialign_jax.evals.semgen.building import release
from unialign_jax.evals.semgen.building import reviewing
from unialign_jax.evals.semgen.building import reviews as reviews_lib
from unialign_jax.evals.semgen.building import selection
from unialign_jax.evals.semgen.building import texts as texts_lib

SIZE, CLUSTERS = 6, 3
ENCODER = "tests.evals.semgen.building.writer:Encoder"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
  folder = writer.pool(tmp_path_factory.mktemp("pool"))
  writer.photograph(folder / "wide.jpg", (90, 90, 90), size=(700, 400))
  return folder


def plan_of(out, images, **changes):
  options = dict(size=SIZE, clusters=CLUSTERS, vectors=ENCODER)
  return selection.Plan(out=out, images=images, **(options | changes))


def build(out, images, judge, **changes):
  """Everything that the command does; whether the set is whole."""
  by = embedding.by(out, ENCODER, None)
  selected = selection.select(plan_of(out, images, **changes), by)
  with reviews_lib.Reviews(out / texts_lib.REVIEWS) as reviews:
    drafts = texts_lib.write(out, selected, reviews, judge)
    texts = [texts_lib.settled(draft, reviews) for draft in drafts]
  return release.write(out, selected, texts, judge.identity), texts


def rows(out):
  text = (out / dataset.LINES).read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_a_set(tmp_path, images):
  judge = fakes.FakeJudge(writer.reply)
  whole, texts = build(tmp_path, images, judge)
  assert whole
  assert len(judge.asked) == len(texts) == 4 * SIZE
  # As the scorer reads it.
  found = dataset.load(tmp_path, SIZE)
  assert [item.image_id for item in found.items] == [1, 2, 3, 4, 5, 6]
  assert found.items[0].prompts["edit_multi"].count(".") == 3
  lines = rows(tmp_path)
  assert list(lines[0])[:6] == list(dataset.FIELDS)
  clusters = [line["cluster"] for line in lines]
  assert sorted(clusters) == [0, 0, 1, 1, 2, 2]
  assert clusters != sorted(clusters)  # in no order of categories
  for line in lines:
    path = tmp_path / line["image_path"]
    assert path.read_bytes() in {p.read_bytes() for p in images.iterdir()}
    assert line["width"] / line["height"] == 1.2
    assert line["prompt_source"]["writer"] == "fake"
    assert line["prompt_source"]["wordings"]["t2i_long"] == "long-1"
    assert set(line["review"].values()) == {"not reviewed"}
    assert line["refined_by"] == []
  # Each prompt is about its own photograph.
  longs = [line["t2i_long"] for line in lines]
  assert len(set(longs)) == SIZE


def test_the_datasheet(tmp_path, images):
  build(tmp_path, images, fakes.FakeJudge(writer.reply))
  sheet = (tmp_path / "datasheet.md").read_text()
  assert "| aspect ratio | 1 |" in sheet
  assert "| fit | 12 |" in sheet
  assert "Vectors: mean colors, for tests." in sheet
  assert "3 clusters of [4, 4, 4]" in sheet
  assert "Written by fake" in sheet
  assert "| not reviewed | 24 |" in sheet
  assert "| not known | 6 |" in sheet
  assert dataset.load(tmp_path, SIZE).sha256 in sheet
  assert "--set items=6" in sheet
  assert "GME" not in sheet


def test_the_same_again(tmp_path, images):
  for name in ("a", "b"):
    build(tmp_path / name, images, fakes.FakeJudge(writer.reply))
  names = ["selection.json", dataset.LINES, "datasheet.md", "drafts.jsonl"]
  for name in names:
    one, other = ((tmp_path / x / name).read_bytes() for x in ("a", "b"))
    assert one == other
  build(tmp_path / "c", images, fakes.FakeJudge(writer.reply), seed=1)
  selected = [
    json.loads((tmp_path / x / "selection.json").read_text())["chosen"]
    for x in ("a", "c")
  ]
  assert selected[0] != selected[1]


def test_it_goes_on_where_it_stopped(tmp_path, images):
  def cut_off(prompt, images, attempt):
    if len(judge.asked) > 7:
      raise KeyboardInterrupt
    return writer.reply(prompt, images, attempt)

  judge = fakes.FakeJudge(cut_off, concurrency=1)
  with pytest.raises(KeyboardInterrupt):
    build(tmp_path, images, judge)
  assert not (tmp_path / dataset.LINES).exists()
  # Nothing is chosen anew: the pool may be gone.
  second = fakes.FakeJudge(writer.reply)
  build(tmp_path, tmp_path / "gone", second)
  assert len(second.asked) == 4 * SIZE - 7


def test_other_settings_want_another_folder(tmp_path, images):
  build(tmp_path, images, fakes.FakeJudge(writer.reply))
  with pytest.raises(ValueError, match="seed: was 0, is 1"):
    build(tmp_path, images, fakes.FakeJudge(writer.reply), seed=1)
  with pytest.raises(ValueError, match=r"vectors: was .*Encoder"):
    build(tmp_path, images, fakes.FakeJudge(writer.reply), vectors="x")


def test_texts_that_do_not_pass_leave_no_set(tmp_path, images):
  def lazy(prompt, images, attempt):
    if "three instructions" in prompt and attempt < 9:
      return '{"instructions": ["Add a hat."]}'
    return writer.reply(prompt, images, attempt)

  judge = fakes.FakeJudge(lazy)
  whole, texts = build(tmp_path, images, judge)
  assert not whole
  assert not (tmp_path / dataset.LINES).exists()
  missing = [text for text in texts if not text.text]
  assert len(missing) == SIZE
  assert missing[0].status == "problems: got 1 instructions, expected 3"
  assert len(judge.asked) == 3 * SIZE + 5 * SIZE  # five attempts each


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"size": 7}, "7 photographs of 3 --clusters"),
    ({"size": 15}, "got 12 photographs that are fit .*'aspect ratio': 1"),
    ({"size": 12, "clusters": 4}, "expected at least 3 in each"),
  ],
)
def test_pools_that_are_too_small(tmp_path, images, changes, message):
  with pytest.raises(ValueError, match=message):
    build(tmp_path, images, fakes.FakeJudge(writer.reply), **changes)


def test_a_review_by_file(tmp_path, images):
  judge = fakes.FakeJudge(writer.reply)
  build(tmp_path, images, judge)
  sheet = tmp_path / "sheet.jsonl"
  with reviewing.Review(tmp_path) as review:
    assert review.write_sheet(sheet) == 4 * SIZE
  lines = [json.loads(line) for line in sheet.read_text().splitlines()]
  assert pathlib.Path(lines[0]["image"]).is_file()
  lines[0] |= {"decision": "accept"}
  lines[1] |= {"decision": "edit", "new": "Three cats sit on a blue mat."}
  lines[2] |= {"decision": "reject", "comment": "the dog is black"}
  sheet.write_text("\n".join(map(json.dumps, lines)))
  with reviewing.Review(tmp_path) as review:
    assert review.read_sheet(sheet, "Ada") == 3
    assert review.current(1, "edit_multi").status == "rejected"
    assert review.write_sheet(tmp_path / "rest.jsonl") == 4 * SIZE - 3
  asked = len(judge.asked)
  whole, _ = build(tmp_path, images, judge)
  assert whole
  (prompt, _) = judge.asked[asked]
  assert len(judge.asked) == asked + 1  # the rejected one alone
  assert f"- {' '.join(writer.MULTI)} (the dog is black)" in prompt
  first = rows(tmp_path)[0]
  assert first["review"] == {
    "t2i_long": "accepted",
    "t2i_complex": "edited",
    "edit_multi": "not reviewed",
    "edit_complex": "not reviewed",
  }
  assert first["t2i_complex"] == "Three cats sit on a blue mat."
  assert first["refined_by"] == ["Ada"]
  assert "| accepted | 1 |" in (tmp_path / "datasheet.md").read_text()


def test_each_rejection_asks_another_question(tmp_path, images):
  """Without a comment, and of a text that the model insists on."""
  judge = fakes.FakeJudge(writer.reply)
  build(tmp_path, images, judge)
  asked = []
  for revision in range(3):
    with reviewing.Review(tmp_path) as review:
      text = review.current(1, "edit_complex").text
    assert text == writer.EDIT["instruction"]
    with reviews_lib.Reviews(tmp_path / texts_lib.REVIEWS) as reviews:
      reviews.add(
        reviews_lib.Decision(
          image_id=1,
          field="edit_complex",
          text=text,
          decision="reject",
          reviewer="Ada",
        )
      )
    build(tmp_path, images, judge)
    assert len(judge.asked) == 4 * SIZE + 1 + revision
    asked.append(judge.asked[-1][0])
  assert len(set(asked)) == 3


def test_a_rejected_text_is_in_no_set(tmp_path, images):
  build(tmp_path, images, fakes.FakeJudge(writer.reply))
  with reviewing.Review(tmp_path) as review:
    text = review.current(2, "t2i_long").text
  decision = reviews_lib.Decision(
    image_id=2, field="t2i_long", text=text, decision="reject", reviewer="Ada"
  )
  with reviews_lib.Reviews(tmp_path / texts_lib.REVIEWS) as reviews:
    reviews.add(decision)

  def dumb(*_):
    return "{}"

  whole, texts = build(tmp_path, images, fakes.FakeJudge(dumb))
  assert not whole
  assert not (tmp_path / dataset.LINES).exists()
  assert next(t.text for t in texts if t.image_id == 2) == ""


def test_sheets_that_do_not_fit(tmp_path, images):
  build(tmp_path, images, fakes.FakeJudge(writer.reply))
  sheet = tmp_path / "sheet.jsonl"
  with reviewing.Review(tmp_path) as review:
    review.write_sheet(sheet)
    lines = [json.loads(line) for line in sheet.read_text().splitlines()]
    lines[0] |= {"decision": "accept", "text": "An older one."}
    lines[1] |= {"decision": "edit"}
    lines[2] |= {"decision": "perhaps"}
    lines[3] |= {"decision": "accept"}
    sheet.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError) as caught:
      review.read_sheet(sheet, "Ada")
    message = str(caught.value)
    assert "line 1: is about 'An older one.'" in message
    assert "line 2: image_id 1: got new text ''" in message
    assert "line 3: image_id 1: got decision 'perhaps'" in message
    assert review.current(1, "edit_complex").status == "not reviewed"


def test_a_judge_that_is_gone(tmp_path, images):
  def lost(*_):
    raise judge_lib.JudgeError("connection")

  with pytest.raises(judge_lib.JudgeError, match="in a row"):
    build(tmp_path, images, fakes.FakeJudge(lost, concurrency=1))
