"""What is wanted gets made: once, whole, in any number of pieces."""

import dataclasses
import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.evals import stand_in
from unialign_jax.evals import batches
from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import folder
from unialign_jax.evals import generation
from unialign_jax.evals import results
from unialign_jax.evals import texts
from unialign_jax.evals import work as work_lib
from unialign_jax.use import outputs

MODEL = {"network": "abc", "dtype": "float32"}


def _png(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
  rng = np.random.default_rng(number)
  pixels = rng.integers(0, 256, (*size[::-1], 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def _plain(count: int, group: str = "plain") -> list[benchmark_lib.Wanted]:
  return [
    benchmark_lib.Wanted(
      path=f"{group}/{i}.png", text=f"text {i}", seed=i, group=group
    )
    for i in range(count)
  ]


WANTED = [
  *_plain(6),
  *(
    benchmark_lib.Wanted(
      path=f"edits/{i}.png",
      text=f"edit {i}",
      images=(_png(i),),
      seed=i,
      group="edits",
      guidance=9.0,
      steps=5,
      negative="blue",
    )
    for i in range(3)
  ),
]


def _job(out: pathlib.Path, **changes: Any) -> generation.Job:
  return generation.Job(out=out, model=MODEL, **changes)


def _make(out: pathlib.Path, pipe=None, wanted=WANTED, **changes: Any) -> int:
  pipe = pipe or stand_in.StandIn()
  return generation.pictures(pipe, wanted, _job(out, **changes))


def _pixels(out: pathlib.Path) -> dict[str, list]:
  return {
    str(path.relative_to(out)): np.asarray(Image.open(path)).tolist()
    for path in sorted(out.rglob("*.png"))
  }


@pytest.fixture
def whole(tmp_path: pathlib.Path) -> pathlib.Path:
  out = tmp_path / "whole"
  assert _make(out) == 0
  return out


def test_every_picture_is_made_and_says_how(whole: pathlib.Path):
  assert sorted(_pixels(whole)) == sorted(one.path for one in WANTED)
  made_by = outputs.read_png(whole / "edits/1.png")
  assert made_by["text"] == "edit 1" and made_by["negative"] == "blue"
  assert made_by["seed"] == 1 and made_by["group"] == "edits"
  assert made_by["guidance"] == 9.0 and made_by["steps"] == 5
  assert made_by["network"] == "abc" and len(made_by["images"]) == 1
  assert outputs.read_png(whole / "plain/1.png")["guidance"] == 3.0


def test_nothing_is_made_twice(whole: pathlib.Path):
  before = {p: p.stat().st_mtime_ns for p in whole.rglob("*.png")}
  pipe = stand_in.StandIn()
  assert _make(whole, pipe) == 0
  assert pipe.drawn == []
  assert before == {p: p.stat().st_mtime_ns for p in whole.rglob("*.png")}


def test_ctrl_c_keeps_what_is_done(whole: pathlib.Path, tmp_path: pathlib.Path):
  out = tmp_path / "out"
  with pytest.raises(KeyboardInterrupt):
    _make(out, stand_in.StandIn(dies=2))
  kept = _pixels(out)
  assert len(kept) == 4 and not list(out.rglob("*.part"))
  pipe = stand_in.StandIn()
  assert _make(out, pipe) == 0
  assert sum(len(some) for some, _ in pipe.drawn) == len(WANTED) - 4
  assert _pixels(out) == _pixels(whole)


def test_shards_share_the_work(whole: pathlib.Path, tmp_path: pathlib.Path):
  out, seen = tmp_path / "out", []
  for index in range(2):
    pipe = stand_in.StandIn()
    _make(out, pipe, shard=folder.Shard(index, 2))
    seen.append({one.text for some, _ in pipe.drawn for one in some})
  assert all(seen) and not seen[0] & seen[1]
  assert _pixels(out) == _pixels(whole)
  assert _work(out).census() == (9, 9)


def test_a_shard_does_not_change_with_what_is_done(tmp_path: pathlib.Path):
  shard = folder.Shard(1, 2)
  _make(tmp_path, shard=shard)
  made = set(_pixels(tmp_path))
  (tmp_path / sorted(made)[0]).unlink()
  _make(tmp_path, shard=shard)
  assert set(_pixels(tmp_path)) == made


def test_a_batch_is_of_one_group_and_one_kind(whole: pathlib.Path, tmp_path):
  wanted = [*_plain(3), *WANTED[6:], *_plain(2, "other")]
  wanted[0] = dataclasses.replace(wanted[0], guidance=1.0)
  pipe = stand_in.StandIn()
  _make(tmp_path, pipe, wanted)
  sizes = [len(some) for some, _ in pipe.drawn]
  assert sizes == [1, 2, 3, 2]
  assert [s["guidance"] for _, s in pipe.drawn] == [1.0, 3.0, 9.0, 3.0]
  assert [s["steps"] for _, s in pipe.drawn] == [2, 2, 5, 2]
  said = [{one.negative for one in some} for some, _ in pipe.drawn]
  assert said == [{""}, {""}, {"blue"}, {""}]


def test_what_the_user_gives_comes_before_the_benchmark(tmp_path: pathlib.Path):
  pipe = stand_in.StandIn()
  _make(tmp_path, pipe, WANTED[6:], image={"guidance": 2.0, "steps": None})
  ((_, settings),) = pipe.drawn
  assert settings["guidance"] == 2.0 and settings["steps"] == 5


def test_framing_is_the_users_or_the_benchmarks(tmp_path: pathlib.Path):
  wide = dataclasses.replace(WANTED[6], images=(_png(0, (16, 8)),))
  seen = {}
  for name, asked, given in (
    ("default", None, None),
    ("benchmark", "squash", None),
    ("user", "squash", "pad"),
  ):
    pipe = stand_in.StandIn()
    one = dataclasses.replace(wide, framing=asked)
    _make(tmp_path / name, pipe, [one], framing=given)
    ((((drawing,)), _),) = pipe.drawn
    (seen[name],) = drawing.pictures
    assert seen[name].shape == (8, 8, 3)
  assert (seen["user"][0] == 255).all()  # the white of "pad"
  assert (seen["benchmark"] != seen["default"]).any()


def test_a_broken_picture_is_named_and_the_rest_goes_on(
  tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
  (tmp_path / "broken.png").write_bytes(_png(0)[:60])
  wanted = list(WANTED)
  wanted[6] = dataclasses.replace(WANTED[6], images=(tmp_path / "gone.png",))
  wanted[7] = dataclasses.replace(WANTED[7], images=(tmp_path / "broken.png",))
  out = tmp_path / "out"
  assert _make(out, wanted=wanted) == 2
  said = capsys.readouterr().err
  assert "edits/0.png" in said and "gone.png" in said
  assert "edits/1.png" in said and "broken.png" in said
  assert len(_pixels(out)) == 7
  # Once the files are whole, the same command makes what is missing.
  for name in ("gone.png", "broken.png"):
    (tmp_path / name).write_bytes(_png(0))
  assert _make(out, wanted=wanted) == 0
  assert len(_pixels(out)) == 9


def test_a_picture_of_something_else_is_refused(whole: pathlib.Path):
  changed = [dataclasses.replace(WANTED[0], seed=7), *WANTED[1:]]
  with pytest.raises(ValueError, match=r"0\.png was made with another seed"):
    _make(whole, wanted=changed)
  changed = [*WANTED[:-1], dataclasses.replace(WANTED[-1], images=(_png(9),))]
  with pytest.raises(ValueError, match="made with another images"):
    _make(whole, wanted=changed)


def test_two_pictures_of_one_path_are_refused(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="more than once"):
    _make(tmp_path, wanted=[*WANTED, WANTED[0]])


def test_times_leave_out_compilation_and_batches_that_are_not_full(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  clock = stand_in.Clock()
  monkeypatch.setattr(batches, "time", clock)
  pipe = stand_in.StandIn(clock=clock)
  # 3 (compiles); 4 (compiles), 4, and 3, which cost as much as 4.
  _make(tmp_path, pipe, [*_plain(3, "few"), *_plain(11)])
  assert folder.times(tmp_path) == [
    results.Time(group="few", seconds=None, counted=0),
    results.Time(group="plain", seconds=1.0, counted=4),
  ]


def test_without_a_full_batch_the_others_count(tmp_path: pathlib.Path):
  path = folder.log(tmp_path, "batches", folder.Shard())
  log = outputs.Lines(str(path))
  for count, seconds, full, compiled in (
    (3, 50.0, False, True),
    (3, 6.0, False, False),
  ):
    log.add(
      {
        "group": "a",
        "count": count,
        "seconds": seconds,
        "full": full,
        "compiled": compiled,
      }
    )
  (found,) = folder.times(tmp_path)
  assert found.seconds == 2.0 and found.counted == 3


ASKED = [
  benchmark_lib.Asked(
    key=f"k{i}",
    picture=_png(i),
    question=f"what is {i}?",
    seed=i % 2,
    group="questions",
  )
  for i in range(6)
]


def _ask(out: pathlib.Path, pipe=None, asked=ASKED, **changes: Any) -> int:
  pipe = pipe or stand_in.StandIn()
  return texts.write(pipe, asked, _job(out, **changes))


def test_texts_are_written_once_with_their_own_seeds(tmp_path: pathlib.Path):
  pipe = stand_in.StandIn()
  assert _ask(tmp_path, pipe, text={"temperature": 0.5}) == 0
  assert texts.read(tmp_path) == {a.key: a.question for a in ASKED}
  seeds = {one.question: seed for some, seed, _ in pipe.written for one in some}
  assert seeds == {one.question: one.seed for one in ASKED}
  assert all(s["temperature"] == 0.5 for _, _, s in pipe.written)
  again = stand_in.StandIn()
  assert _ask(tmp_path, again) == 0
  assert again.written == []


def test_texts_go_on_after_a_kill_in_any_number_of_shards(
  tmp_path: pathlib.Path,
):
  with pytest.raises(KeyboardInterrupt):
    _ask(tmp_path, stand_in.StandIn(dies=2))
  path = folder.log(tmp_path, "texts", folder.Shard())
  whole = path.read_text()
  path.write_text(whole[:-5])  # the last line is torn
  assert len(texts.read(tmp_path)) == 2
  for index in range(2):
    assert _ask(tmp_path, shard=folder.Shard(index, 2)) == 0
  assert texts.read(tmp_path) == {a.key: a.question for a in ASKED}


def test_texts_of_other_questions_are_refused(tmp_path: pathlib.Path):
  _ask(tmp_path)
  changed = [dataclasses.replace(ASKED[0], question="who?"), *ASKED[1:]]
  with pytest.raises(ValueError, match="a text of another question: k0"):
    _ask(tmp_path, asked=changed)


def test_what_cannot_be_asked_is_named(
  tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
  asked = list(ASKED)
  asked[0] = dataclasses.replace(ASKED[0], question="why " * 40)
  asked[1] = dataclasses.replace(ASKED[1], picture=b"no picture")
  assert _ask(tmp_path, asked=asked) == 2
  said = capsys.readouterr().err
  assert "k0" in said and "k1" in said
  assert len(texts.read(tmp_path)) == 4


class _Plain:
  """A benchmark of plain pictures."""

  name = "plain"

  def wanted(self, data, settings):
    return WANTED

  def finish(self, out, data, settings):
    (out / "finished").touch()

  def score(self, out, data, settings, judge):
    count = sum((out / one.path).exists() for one in WANTED)
    score = benchmark_lib.Score(
      group="g", metric="m", value=1.0, scored=count, expected=len(WANTED)
    )
    return benchmark_lib.Result(
      benchmark="plain",
      protocol="p",
      official=False,
      scorer="a test",
      scores=[score],
    )


def _work(out: pathlib.Path) -> work_lib.Work:
  return work_lib.Work(_Plain(), out, None, {"a": "1"})


def test_a_folder_is_of_one_model_and_its_settings(
  tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
  work, pipe = _work(tmp_path), stand_in.StandIn()
  noted = {"unialign_jax": "1", "model": "here"}
  assert work.generate(pipe, _job(tmp_path), noted) == 0
  saved = json.loads((tmp_path / "settings.json").read_text())
  assert saved["identity"] == MODEL and saved["image"]["steps"] == 2
  assert saved["noted"] == {**noted, "set": {"a": "1"}, "data": ""}

  assert work.generate(pipe, _job(tmp_path), noted) == 0
  assert "begun otherwise" not in capsys.readouterr().err
  # Another version is worth a word, another model or setting an error.
  work.generate(pipe, _job(tmp_path), {**noted, "unialign_jax": "2"})
  assert "unialign_jax: was '1', is '2'" in capsys.readouterr().err
  other = generation.Job(out=tmp_path, model={**MODEL, "network": "xyz"})
  with pytest.raises(ValueError, match=r"identity\.network: was 'abc'"):
    work.generate(pipe, other, noted)
  with pytest.raises(ValueError, match=r"image\.steps: was 2, is 3"):
    work.generate(pipe, _job(tmp_path, image={"steps": 3}), noted)
  with pytest.raises(ValueError, match="framing: was None, is 'pad'"):
    work.generate(pipe, _job(tmp_path, framing="pad"), noted)
  with pytest.raises(ValueError, match=r"text\.temperature"):
    work.generate(pipe, _job(tmp_path, text={"temperature": 1.0}), noted)


def test_two_processes_of_one_shard_are_refused(tmp_path: pathlib.Path):
  work, pipe = _work(tmp_path), stand_in.StandIn()
  with folder.locked(tmp_path, folder.Shard()):
    with pytest.raises(ValueError, match="another process makes shard 0/1"):
      work.generate(pipe, _job(tmp_path), {})
    shard = folder.Shard(0, 2)
    assert work.generate(pipe, _job(tmp_path, shard=shard), {}) == 0
  assert work.generate(pipe, _job(tmp_path), {}) == 0


def test_a_score_comes_with_what_is_there_and_how_it_was_made(
  tmp_path: pathlib.Path,
):
  work = _work(tmp_path)
  work.generate(stand_in.StandIn(), _job(tmp_path), {"model": "here"})
  (tmp_path / WANTED[0].path).unlink()
  found = work.score(None)
  assert (found.made, found.wanted) == (8, 9)
  assert found.settings["noted"]["model"] == "here"
  results.write(tmp_path / results.NAME, found)
  read = results.read(tmp_path / results.NAME)
  assert read.result.scores == found.result.scores
  assert read.times == found.times and read.settings == found.settings
  shown = results.table(read)
  assert "8 of 9" in shown and "not the official scorer" in shown


@pytest.mark.parametrize("text", ["2/2", "1", "a/2", "0/0", "-1/2", "1/2/3"])
def test_a_shard_that_does_not_exist(text: str):
  with pytest.raises(ValueError, match="--shard"):
    folder.Shard.parse(text)
