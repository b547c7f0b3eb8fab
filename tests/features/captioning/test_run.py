"""Every sample without caption gets one, is asked once, or is listed."""

import hashlib

import pytest

from tests.features.captioning import fakes
from unialign_jax.data.sources import base
from unialign_jax.features.captioning import run as run_lib
from unialign_jax.vlm import asking


@pytest.fixture
def out(tmp_path):
  return tmp_path / "captions.jsonl"


def test_captions_what_lacks_one(out):
  items = [
    fakes.raw(1),
    fakes.raw(2, caption="There already.", caption_source="dataset"),
    base.Rejected(key="train/3", source="fake/edits", reason="null image"),
    fakes.raw(4, task="understanding", question="What is it?"),
    fakes.raw(5, task="perception", map_style="depth"),
  ]
  model = fakes.FakeCaptioner(fakes.say_shade)
  counts = fakes.run(items, model, out, concurrency=1)
  line = {
    "source": "fake/edits",
    "key": "train/1",
    "image_sha256": hashlib.sha256(items[0].target.data).hexdigest(),
    "caption": "A square of shade 1.",
    "model": "tiny",
    "prompt": "edit-1",
  }
  assert fakes.lines(out)[0] == line
  assert fakes.captions(out).keys() == {"train/1", "train/5"}
  assert fakes.lines(out)[1]["prompt"] == "map-1/depth"
  assert [r.lossless for r in model.requests] == [False, True]
  assert counts == {
    "captions written": 2,
    "had a caption": 1,
    "rejected (null image)": 1,
    "question without answer": 1,
  }
  assert model.closed


def test_the_box_and_the_longer_side(out):
  picture = fakes.picture(9, (64, 32))
  boxed = base.Picture(picture.data, (0, 0, 40, 10))
  model = fakes.FakeCaptioner(fakes.say_shade)
  items = [fakes.raw(1, target=picture), fakes.raw(2, target=boxed)]
  fakes.run(items, model, out, max_side=20, concurrency=1)
  assert [r.images[0].size for r in model.requests] == [(20, 10), (20, 5)]
  fakes.run([fakes.raw(3)], model, out, max_side=20)
  assert model.requests[-1].images[0].size == (16, 16)


def test_the_same_picture_is_asked_once(out):
  same = fakes.picture(7)
  items = [fakes.raw(n, target=same) for n in range(5)]
  items.append(fakes.raw(8, task="text_to_image", target=same))
  model = fakes.FakeCaptioner(fakes.say_shade)
  counts = fakes.run(items, model, out)
  assert model.batches == [[7], [7]]  # once a prompt
  assert len(fakes.captions(out)) == 6
  assert counts["of a picture asked before"] == 4
  # Nor by a later run, for a sample that was not there.
  fakes.run([fakes.raw(9, target=same)], model, out)
  assert len(model.batches) == 2
  assert fakes.captions(out)["train/9"] == "A square of shade 7."
  # Another model has other words.
  fakes.run([fakes.raw(10, target=same)], model, out, name="other")
  assert len(model.batches) == 3
  assert fakes.lines(out)[-1]["model"] == "other"


def test_what_is_finished_is_not_asked_again(out):
  items = [fakes.raw(n) for n in range(6)]
  model = fakes.FakeCaptioner(fakes.say_shade)
  fakes.run(items[:4], model, out)
  counts = fakes.run(items, model, out)
  assert sorted(model.batches) == [[n] for n in range(6)]
  assert counts == {"captions written": 2, "done before": 4}
  assert len(fakes.captions(out)) == 6


def test_batches_are_full_and_keep_their_order(out):
  items = [fakes.raw(n) for n in range(7)]
  items[2] = fakes.raw(2, target=base.Picture(b"no picture"))
  model = fakes.FakeCaptioner(fakes.say_shade, batch_size=3)
  fakes.run(items, model, out, concurrency=1)
  assert model.batches == [[0, 1], [3, 4, 5], [6]]
  assert fakes.captions(out) == {
    f"train/{n}": f"A square of shade {n}." for n in (0, 1, 3, 4, 5, 6)
  }
  assert fakes.failures(out) == [("train/2", "bad picture")]


def test_failures_are_listed_and_tried_again(out):
  answers = {
    0: asking.Answer("The image shows a bus."),
    1: asking.Failure("timeout"),
    2: asking.Answer("I'm sorry, I can't."),
    3: asking.Answer(" \n"),
    4: asking.Answer("one two three four five six"),
  }
  items = [fakes.raw(n) for n in range(5)]
  model = fakes.FakeCaptioner(answers.get)
  counts = fakes.run(items, model, out, tokens=5, concurrency=1)
  assert fakes.captions(out) == {"train/0": "A bus."}
  assert fakes.failures(out) == [
    ("train/1", "timeout"),
    ("train/2", "refusal"),
    ("train/3", "empty answer"),
    ("train/4", "no full sentence fits"),
  ]
  assert counts["failed (refusal)"] == 1
  model = fakes.FakeCaptioner(fakes.say_shade)
  fakes.run(items, model, out)
  assert sorted(model.batches) == [[1], [2], [3], [4]]
  assert len(fakes.captions(out)) == 5
  assert fakes.failures(out) == []


def test_all_samples_of_a_failed_picture_are_listed(out):
  items = [fakes.raw(n, target=fakes.picture(1)) for n in range(3)]
  model = fakes.FakeCaptioner(lambda shade: asking.Failure("timeout"))
  counts = fakes.run(items, model, out, max_failures=1, concurrency=1)
  assert fakes.failures(out) == [(f"train/{n}", "timeout") for n in range(3)]
  assert model.batches == [[1]]
  assert counts["failed (timeout)"] == 3


def test_a_failed_picture_is_not_asked_again_in_the_same_run(out):
  # The last item is read when the first has long been answered.
  items = [fakes.raw(n) for n in range(6)]
  items.append(fakes.raw(6, target=items[0].target))

  def reply(shade):
    return fakes.say_shade(shade) if shade else asking.Failure("timeout")

  model = fakes.FakeCaptioner(reply)
  fakes.run(items, model, out, concurrency=1, max_failures=1)
  assert model.batches == [[n] for n in range(6)]
  assert fakes.failures(out) == [("train/0", "timeout"), ("train/6", "timeout")]


def test_too_many_failures_stop_the_run(out):
  items = [fakes.raw(n) for n in range(50)]
  model = fakes.FakeCaptioner(lambda shade: asking.Failure("timeout"))
  with pytest.raises(run_lib.TooManyFailures, match=r"got 4 pictures.*timeout"):
    fakes.run(items, model, out, max_failures=3, concurrency=2)
  assert 4 <= len(model.batches) <= 6
  assert model.closed


def test_a_model_that_refuses_all_stops_the_run(out):
  def refuse(shade):
    raise asking.Unusable("wrong key")

  items = [fakes.raw(n) for n in range(50)]
  model = fakes.FakeCaptioner(refuse)
  with pytest.raises(asking.Unusable, match="wrong key"):
    fakes.run(items, model, out, concurrency=2)
  assert len(model.batches) <= 2


@pytest.mark.parametrize(
  ("answer", "caption"),
  [
    (asking.Answer("One two. Three four."), "One two. Three four."),
    (asking.Answer("One two. Three four five."), "One two."),
    (asking.Answer("One two. Three", complete=False), "One two."),
    (asking.Answer("One two. Three"), "One two. Three"),
  ],
)
def test_a_caption_ends_with_a_sentence_that_fits(out, answer, caption):
  model = fakes.FakeCaptioner(lambda shade: answer)
  counts = fakes.run([fakes.raw(1)], model, out, tokens=5)
  assert fakes.captions(out) == {"train/1": caption}
  assert counts.get("cut at a sentence", 0) == (caption == "One two.")
