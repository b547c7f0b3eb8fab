"""The Shapes benchmark: full marks for what is right, none for what is not."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from tests.evals import shapes_oracle
from tests.evals import stand_in
from unialign_jax import checkpoint
from unialign_jax import config as config_lib
from unialign_jax import pipeline as pipeline_lib
from unialign_jax import sharding
from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals.shapes import benchmark
from unialign_jax.evals.shapes import items
from unialign_jax.evals.shapes import rows
from unialign_jax.models import mmdit
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import scores

SETTINGS = {"samples": 2}
OPTIONS = benchmark.Options(**SETTINGS)
WHITE = np.full((64, 64, 3), 250, np.uint8)


def _values(
  result: benchmark_lib.Result, metric: str = rows.SCORE
) -> dict[str, float]:
  return {s.group: s.value for s in result.scores if s.metric == metric}


@pytest.fixture(scope="module")
def perfect(
  tmp_path_factory: pytest.TempPathFactory,
) -> tuple[pathlib.Path, benchmark_lib.Result]:
  out = tmp_path_factory.mktemp("oracle")
  oracle = shapes_oracle.pipe(OPTIONS)
  return out, shapes_oracle.scored(out, SETTINGS, oracle)


def test_the_oracle_has_full_marks_in_every_row(perfect):
  _, result = perfect
  found = _values(result)
  every = {row for ability in rows.ABILITIES for row in rows.of(ability)}
  assert every <= set(found) and len(found) == len(every) + 3
  assert found == dict.fromkeys(found, 1.0)
  for metric in (rows.DONE, rows.KEPT, rows.SCENE):
    assert set(_values(result, metric).values()) == {1.0}
  assert _values(result, rows.ERROR) == {"depth (accuracy)": 0.0}
  assert all(s.scored == s.expected for s in result.scores)
  assert all(s.low == s.high == 1.0 for s in result.scores
             if s.metric == rows.SCORE and s.low is not None)  # fmt: skip


def test_pictures_of_one_prompt_are_one_sample(perfect):
  _, result = perfect
  lows = {s.group: s.low for s in result.scores if s.metric == rows.SCORE}
  # Two pictures each: of one prompt, or of two edits.
  assert all(lows[row] is None for row in rows.of("generation"))
  assert all(lows[row] == 1 for row in rows.of("editing"))


def test_both_subjects_have_to_be_there():
  item = next(i for i in OPTIONS.drawn() if i.row == "two subjects")
  subjects, scene = item.mark.args
  assert len(subjects) == 2 and item.mark(item.target)[rows.SCORE] == 1
  for gone in subjects:
    rest = tuple(other for other in scene.objects if other != gone)
    picture = render.render(dataclasses.replace(scene, objects=rest))
    assert item.mark(picture) == {rows.SCORE: 0, rows.SCENE: 0}


def test_questions_are_of_their_row():
  for item in OPTIONS.written():
    if item.question:
      assert scores.question_kind(item.question) == rows.kind(item.row)


def test_who_copies_its_input_keeps_everything_and_does_nothing(tmp_path):
  copier = stand_in.StandIn(
    lambda one: one.pictures[0] if one.pictures else WHITE,
    lambda one: "",
    size=64,
  )
  result = shapes_oracle.scored(tmp_path, SETTINGS, copier)
  kept, done = _values(result, rows.KEPT), _values(result, rows.DONE)
  assert set(kept.values()) == {1.0} and set(done.values()) == {0.0}
  # A few edges of shapes are in every picture.
  low = {name: value for name, value in _values(result).items()}
  assert low.pop("canny (F1)") < 0.3
  assert max(low.values()) < 0.05, low


def test_an_untrained_network_is_near_chance(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  before = jax.config.jax_compilation_cache_dir
  config = config_lib.from_dict(config_lib.load_file("shapes.py"))
  config = dataclasses.replace(
    config,
    model=dataclasses.replace(config.model, depth=1, align_depth=1),
    sample=dataclasses.replace(config.sample, steps=2, text_steps=2),
  )
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda p: 0.02 * rng.normal(size=p.shape).astype(np.float32),
    mmdit.abstract_params(config.model),
  )
  checkpoint.write_weights(tmp_path / "run", config, params, {})
  one_device = sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1])
  pipe = pipeline_lib.Pipeline.load(tmp_path / "run", mesh=one_device)
  result = shapes_oracle.scored(tmp_path / "out", SETTINGS, pipe)
  jax.config.update("jax_compilation_cache_dir", before)
  found = _values(result)
  assert max(found.values()) < 0.35, found
  assert np.mean(list(found.values())) < 0.05, found


def test_what_is_missing_counts_as_the_worst_and_is_counted(
  perfect, tmp_path: pathlib.Path
):
  result = benchmark.BENCHMARK.score(tmp_path, None, SETTINGS, None)
  assert set(_values(result).values()) == {0.0}
  measured = [s for s in result.scores if s.metric != rows.CONSTANT]
  assert all(s.scored == 0 and s.expected >= 2 for s in measured)
  assert any("missing and count as 0" in note for note in result.notes)
  out, _ = perfect
  gone = out / "pictures/depth_accuracy/00000.png"
  data = gone.read_bytes()
  gone.unlink()
  try:
    result = benchmark.BENCHMARK.score(out, None, SETTINGS, None)
  finally:
    gone.write_bytes(data)
  depth = {s.metric: s for s in result.scores if s.group.startswith("depth")}
  assert depth[rows.SCORE].value == 0.5 and depth[rows.ERROR].value == 0.5
  assert (depth[rows.SCORE].scored, depth[rows.SCORE].expected) == (1, 2)


def test_pictures_of_another_size_are_read(perfect, tmp_path: pathlib.Path):
  out, _ = perfect
  item = next(i for i in OPTIONS.drawn() if i.row == "edit: add")
  with Image.open(out / item.path) as image:
    large = image.resize((256, 256), Image.Resampling.NEAREST)
  path = tmp_path / item.path
  path.parent.mkdir(parents=True)
  large.save(path)
  result = benchmark.BENCHMARK.score(tmp_path, None, SETTINGS, None)
  assert _values(result)["edit: add"] == 0.5


def test_a_file_that_is_no_picture_is_named(tmp_path: pathlib.Path):
  path = tmp_path / OPTIONS.drawn()[0].path
  path.parent.mkdir(parents=True)
  path.write_bytes(b"nothing")
  with pytest.raises(ValueError, match=r"00000\.png: got no picture"):
    benchmark.BENCHMARK.score(tmp_path, None, SETTINGS, None)


def test_items_do_not_depend_on_how_many_there_are():
  fewer = benchmark.Options(samples=1)
  for few, many in (
    (fewer.drawn(), OPTIONS.drawn()),
    (fewer.written(), OPTIONS.written()),
  ):
    by_place = {(i.row, i.index): i for i in many}
    for item in few:
      same = by_place[item.row, item.index]
      if isinstance(item, items.Drawn):
        assert item.text == same.text
        assert [c.tolist() for c in item.conditions] == [
          c.tolist() for c in same.conditions
        ]
      else:
        assert (item.question, item.target) == (same.question, same.target)
  other = benchmark.Options(samples=2, seed=1)
  texts = [[i.text for i in o.drawn()] for o in (OPTIONS, other)]
  assert texts[0] != texts[1]


def test_every_condition_picture_is_of_the_test_split():
  """Of edits, which have two scenes; the others are drawn by `tasks.make`."""
  for item in OPTIONS.drawn():
    if item.row.startswith("edit"):
      edit = item.mark.args[0]
      assert scenes.split(edit.source) == scenes.split(edit.target) == "test"


@pytest.mark.parametrize(
  ("settings", "said"),
  [
    ({"abilities": "editing,flying"}, r"got \['flying'\], expected some of"),
    ({"world": "round"}, "got 'round', expected one of"),
    ({"samples": "0"}, "samples=0"),
    ({"sample": "1"}, "did you mean samples"),
  ],
)
def test_settings_that_do_not_exist(settings: dict[str, str], said: str):
  with pytest.raises(ValueError, match=said):
    benchmark.BENCHMARK.wanted(None, settings)


def test_abilities_choose_rows():
  settings = {"abilities": "perception", "samples": "1"}
  wanted = benchmark.BENCHMARK.wanted(None, settings)
  assert [one.group for one in wanted] == list(rows.of("perception"))
  assert benchmark.BENCHMARK.asked(None, settings) == []
