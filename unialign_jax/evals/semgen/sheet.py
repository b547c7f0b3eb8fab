"""A contact sheet: the best and the worst pictures of each group."""

import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import judging
from unialign_jax.evals.semgen import layout
from unialign_jax.evals.semgen import samples as samples_lib
from unialign_jax.sampling import grid

_EACH = 4  # best of a group, and worst
_SIDE = 192  # pixels of a picture on it
_MOST_CHARACTERS = 300


def write(
  path: pathlib.Path,
  out: pathlib.Path,
  items: Sequence[dataset.Item],
  samples: Sequence[samples_lib.Sample],
) -> bool:
  """Writes the sheet, a row of best and a row of worst for each group.

  Args:
    path: of the PNG.
    out: with the pictures.
    items: of the samples.
    samples: with their scores.

  Returns:
    Whether there was any picture with a score.
  """
  by_key = {item.key: item for item in items}
  rows = []
  for group in dataset.GROUPS:
    best, worst = extremes(
      [
        one
        for one in samples
        if one.group == group.name and one.status == samples_lib.SCORED
      ]
    )
    for found in filter(None, (best, worst)):
      rows.append([_cell(out, group, by_key[one.key], one) for one in found])
  if not rows:
    path.unlink(missing_ok=True)  # of an earlier scoring
    return False
  part = path.with_name(f".{path.name}.part")
  Image.fromarray(grid.draw(rows, scale=1)).save(part, "PNG")
  part.replace(path)
  return True


def extremes(
  samples: Sequence[samples_lib.Sample],
) -> tuple[list[samples_lib.Sample], list[samples_lib.Sample]]:
  """The best, best first, and of the rest the worst, worst first."""
  ordered = sorted(samples, key=lambda one: (-one.o, one.key))
  best, rest = ordered[:_EACH], ordered[_EACH:]
  return best, rest[::-1][:_EACH]


def _cell(
  out: pathlib.Path,
  group: dataset.Group,
  item: dataset.Item,
  sample: samples_lib.Sample,
) -> grid.Cell:
  scores = ", ".join(
    f"{metric} {sample.metric(metric):.1f}" for metric in samples_lib.METRICS
  )
  text = item.prompts[group.field]
  if len(text) > _MOST_CHARACTERS:
    text = f"{text[:_MOST_CHARACTERS]} ..."
  shown = [layout.read(out / layout.picture(group, item.key))]
  if group.is_edit:
    shown.insert(0, judging.before(out, group, item))
  return grid.Cell(
    caption=f"{group.name} {item.key}: {scores}. {text}",
    pictures=[np.asarray(one.resize((_SIDE, _SIDE))) for one in shown],
  )
