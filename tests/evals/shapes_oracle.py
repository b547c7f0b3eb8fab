"""A perfect model of the Shapes world: the renderer and the language."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.evals import stand_in
from unialign_jax.evals import benchmark as benchmark_lib
from unialign_jax.evals import generation
from unialign_jax.evals import work as work_lib
from unialign_jax.evals.shapes import benchmark
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes
from unialign_jax.use import requests

# Where up to four small shapes have room; a relation holds between the middle
# and a place to one side of it.
_CORNERS = ((12, 12), (52, 12), (12, 52), (52, 52))
_SIDES = {
  "left of": (12, 32),
  "right of": (52, 32),
  "above": (32, 12),
  "below": (32, 52),
}


def pipe(options: benchmark.Options, **changes: Any) -> stand_in.StandIn:
  """A stand-in that draws and writes what each item wants."""
  drawn = {_drawing_key(i.text, i.conditions): i for i in options.drawn()}
  written = {(i.picture.tobytes(), i.question): i for i in options.written()}

  def paint(one: requests.Drawing) -> np.ndarray:
    item = drawn[_drawing_key(one.text, one.pictures)]
    return of_prompt(item.prompt) if item.target is None else item.target

  def say(one: requests.Writing) -> str:
    return written[one.picture.tobytes(), one.question].target

  return stand_in.StandIn(paint, say, size=scenes.CANVAS, **changes)


def of_prompt(prompt: Mapping[str, Any]) -> np.ndarray:
  """A picture of what a GenEval prompt asks for, and of nothing else."""
  objects, corners = [], iter(_CORNERS)
  first, *others = prompt["include"]
  relation = others[0].get("position") if others else None
  for clause in prompt["include"]:
    for _ in range(clause["count"]):
      if relation is None:
        place = next(corners)
      else:
        place = (32, 32) if clause is first else _SIDES[relation[0]]
      color = clause.get("color", "red")
      objects.append(scenes.Object(clause["class"], color, "small", *place))
  scene = scenes.Scene(scenes.arrange(objects))
  assert scenes.is_valid(scene)
  return render.render(scene)


def _drawing_key(text: str, pictures: Any) -> tuple[str, ...]:
  return (text, *(np.asarray(p).tobytes() for p in pictures))


def scored(
  out: pathlib.Path, options: Mapping[str, Any], drawer: Any
) -> benchmark_lib.Result:
  """What a model, or what stands in for one, gets in a new folder."""
  work = work_lib.Work(benchmark.BENCHMARK, out, None, options)
  assert work.generate(drawer, generation.Job(out=out, model={}), {}) == 0
  return work.score(None).result
