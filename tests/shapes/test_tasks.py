"""Every task is exact: what the texts say is what the pictures show."""

import numpy as np
import pytest

from unialign_jax.data import sample as samples
from unialign_jax.shapes import agreement
from unialign_jax.shapes import edits
from unialign_jax.shapes import language
from unialign_jax.shapes import maps
from unialign_jax.shapes import phrases
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import tasks
from unialign_jax.shapes import verifier

CONDITIONS = {
  "text_to_image": 0,
  "edit": 1,
  "perception": 1,
  "personalise": 1,
  "personalise_multi": 2,
  "understanding": 0,
}


def draw_edits(kind: str, number: int = 12) -> list[edits.Edit]:
  rng = np.random.default_rng(5)
  found: list[edits.Edit] = []
  for _ in range(100 * number):
    source = scenes.sample_scene(rng, **edits.requirements(kind))
    edit = edits.edit(kind, source, rng)
    if edit is not None:
      found.append(edit)
    if len(found) == number:
      return found
  raise AssertionError(f"found {len(found)} of {number} edits of kind {kind}")


def untouched(edit: edits.Edit) -> np.ndarray:
  """Pixels that neither a gone nor a new element covers."""
  source, target = edit.source, edit.target
  changed = set(source.objects) ^ set(target.objects)
  free = np.ones((64, 64), bool)
  for item in changed:
    free &= render.object_coverage(item) == 0
  if source.figure != target.figure:
    for figure in (source.figure, target.figure):
      free &= render.figure_coverage(figure) == 0
  return free


@pytest.mark.parametrize("task", samples.TASKS)
def test_samples_are_complete_and_a_function_of_the_seed(task):
  def draw():
    rng = np.random.default_rng(1)
    return [tasks.make(task, rng, key=str(i)) for i in range(8)]

  for first, second in zip(draw(), draw()):
    assert first.task == task
    assert len(first.cond_images) == CONDITIONS[task]
    assert first.source.startswith(f"shapes/{task}/")
    assert first.instruction
    assert first.caption
    assert scenes.Scene.from_json(first.scene)
    assert first.instruction == second.instruction
    assert first.caption == second.caption
    np.testing.assert_array_equal(first.target_image, second.target_image)


@pytest.mark.parametrize("task", samples.TASKS)
def test_splits_and_budgets_are_kept(task):
  rng = np.random.default_rng(2)
  world = tasks.World(max_tokens=23)
  for split in ("train", "validation", "test"):
    for _ in range(4):
      item = tasks.make(task, rng, split=split, world=world)
      scene = scenes.Scene.from_json(item.scene)
      assert scenes.split(scene) == split
      assert language.count_tokens(item.instruction) <= 23
      question = language.count_tokens(item.question)
      assert language.count_tokens(item.caption) + question <= 23


def test_wrong_names_are_refused():
  rng = np.random.default_rng(0)
  with pytest.raises(ValueError, match="unknown task 'paint'"):
    tasks.make("paint", rng)
  with pytest.raises(ValueError, match="has no kind 'pose'"):
    tasks.make("edit", rng, kind="pose")
  with pytest.raises(ValueError, match="unknown kind of edit"):
    edits.edit("melt", scenes.sample_scene(rng), rng)


@pytest.mark.parametrize(
  "kind", ["add", "adjust", "replace", "remove", "action"]
)
def test_local_edits_leave_every_other_pixel_alone(kind):
  for edit in draw_edits(kind):
    before, after = render.render(edit.source), render.render(edit.target)
    free = untouched(edit)
    assert free.mean() > 0.4
    np.testing.assert_array_equal(before[free], after[free])
    assert (before != after).any()


@pytest.mark.parametrize("kind", [k for k in edits.KINDS if k != "style"])
def test_the_verifier_sees_source_and_target(kind):
  for edit in draw_edits(kind, 5):
    for scene in (edit.source, edit.target):
      reading = verifier.read(render.render(scene))
      assert agreement.agreement(reading, scene).everything()


def test_each_kind_changes_what_its_words_say():
  for edit in draw_edits("add"):
    (new,) = set(edit.target.objects) - set(edit.source.objects)
    assert language.noun(new, size=True) in edit.instruction
    assert language.place(new) in edit.instruction
  for edit in draw_edits("remove"):
    (old,) = set(edit.source.objects) - set(edit.target.objects)
    assert language.refer(old, edit.source) in edit.instruction
  for edit in draw_edits("replace"):
    (old,) = set(edit.source.objects) - set(edit.target.objects)
    (new,) = set(edit.target.objects) - set(edit.source.objects)
    assert language.refer(old, edit.source) in edit.instruction
    assert language.noun(new) in edit.instruction
    assert (old.x, old.y, old.size) == (new.x, new.y, new.size)
  for edit in draw_edits("extract"):
    (kept,) = edit.target.objects
    assert kept in edit.source.objects
    assert edit.target == scenes.Scene((kept,))
    assert language.refer(kept, edit.source) in edit.instruction
  for edit in draw_edits("background"):
    assert edit.target.objects == edit.source.objects
    assert language.ground(edit.target.background) in edit.instruction
  for edit in draw_edits("action"):
    assert phrases.ACTS[edit.target.figure.pose] in edit.instruction
  for edit in draw_edits("style"):
    assert phrases.STYLE_NAMES[edit.target.style] in edit.instruction


def test_adjust_changes_color_or_size_and_nothing_else():
  seen = set()
  for edit in draw_edits("adjust", 30):
    (old,) = set(edit.source.objects) - set(edit.target.objects)
    (new,) = set(edit.target.objects) - set(edit.source.objects)
    assert (old.shape, old.x, old.y) == (new.shape, new.x, new.y)
    if old.color != new.color:
      assert old.size == new.size
      assert new.color in edit.instruction
      seen.add("color")
    else:
      assert old.size != new.size
      seen.add("size")
  assert seen == {"color", "size"}


def test_hybrid_makes_two_changes():
  for edit in draw_edits("hybrid", 20):
    assert " and " in edit.instruction
    gone = set(edit.source.objects) - set(edit.target.objects)
    new = set(edit.target.objects) - set(edit.source.objects)
    ground = edit.source.background != edit.target.background
    assert max(len(gone), len(new)) + ground + (
      len(gone) == len(new) == 1 and not ground
    ) == 2  # fmt: skip


def test_perception_targets_are_the_maps_of_the_condition():
  rng = np.random.default_rng(3)
  for kind in maps.KINDS:
    item = tasks.make("perception", rng, kind=kind)
    scene = scenes.Scene.from_json(item.scene)
    np.testing.assert_array_equal(item.cond_images[0], render.render(scene))
    wanted = {
      "canny": lambda s: maps.canny(render.render(s)),
      "depth": maps.depth,
      "pose": maps.pose,
    }[kind](scene)
    np.testing.assert_array_equal(item.target_image, wanted)


@pytest.mark.parametrize("task", ["personalise", "personalise_multi"])
def test_subjects_reappear_in_the_target(task):
  rng = np.random.default_rng(4)
  for _ in range(10):
    item = tasks.make(task, rng)
    scene = scenes.Scene.from_json(item.scene)
    for image in item.cond_images:
      (seen,) = verifier.read(image).objects
      kind = (seen.shape, seen.color, seen.size)
      assert kind in {(o.shape, o.color, o.size) for o in scene.objects}
      # What the subject looks like is not given away.
      assert f"{seen.color} {seen.shape}" not in item.instruction
    assert "subject" in item.instruction


def test_understanding_asks_and_describes():
  rng = np.random.default_rng(6)
  drawn = [tasks.make("understanding", rng) for _ in range(30)]
  assert {bool(item.question) for item in drawn} == {True, False}
  for item in drawn:
    scene = scenes.Scene.from_json(item.scene)
    np.testing.assert_array_equal(item.target_image, render.render(scene))


def test_a_sample_checks_its_pictures():
  item = tasks.make("text_to_image", np.random.default_rng(0))
  fields = dict(vars(item))
  with pytest.raises(ValueError, match="uint8"):
    samples.Sample(**fields | {"target_image": np.zeros((4, 4), np.uint8)})
  with pytest.raises(ValueError, match="unknown task"):
    samples.Sample(**fields | {"task": "paint"})
  with pytest.raises(ValueError, match="at most 4"):
    samples.Sample(**fields | {"cond_images": (item.target_image,) * 5})
