"""Which pictures are on the sheet, and where."""

import numpy as np
from PIL import Image

from tests.evals.semgen import written
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import samples as samples_lib
from unialign_jax.evals.semgen import sheet


def sample(key, ic, group="T2I_Long", status=samples_lib.SCORED):
  return samples_lib.Sample(
    group=group, key=key, status=status, ic=float(ic), pq=float(ic)
  )


def keys(samples):
  return [one.key for one in samples]


def test_best_first_worst_first():
  best, worst = sheet.extremes([sample(key, key % 10) for key in range(10)])
  assert keys(best) == [9, 8, 7, 6]
  assert keys(worst) == [0, 1, 2, 3]


def test_few_samples_are_shown_once():
  best, worst = sheet.extremes([sample(key, key) for key in range(6)])
  assert keys(best) == [5, 4, 3, 2]
  assert keys(worst) == [0, 1]
  best, worst = sheet.extremes([sample(key, 5) for key in range(3)])
  assert (keys(best), worst) == ([0, 1, 2], [])


def test_the_sheet_shows_them(tmp_path):
  folder = written.write(tmp_path / "data", 6)
  items = dataset.load(folder, 6).items
  edit = dataset.GROUPS[3]
  samples = []
  for key in range(6):
    written.draw(tmp_path, edit, key, 100 + 20 * key)
    samples.append(sample(key, key, edit.name))
  path = tmp_path / "sheet.png"
  assert sheet.write(path, tmp_path, items, samples)
  pixels = np.asarray(Image.open(path).convert("L"))
  for shade in (200, 180, 160, 140, 100, 120):
    assert (pixels == shade).sum() >= 192 * 192
  # Captions have greys of these too, but hardly a long row of them.
  (top, left), (other_top, other_left), (worst_top, _) = (
    _corner(pixels == shade) for shade in (200, 180, 100)
  )
  assert top == other_top < worst_top  # best above worst
  assert left < other_left  # best before second best


def _corner(where: np.ndarray) -> tuple[int, int]:
  """Of the square of 192 x 192 in which all is true."""
  row = int(np.flatnonzero(where.sum(axis=1) >= 192)[0])
  return row, int(np.flatnonzero(where.sum(axis=0) >= 192)[0])


def test_missing_pictures_are_not_on_it(tmp_path):
  path = tmp_path / "sheet.png"
  path.write_bytes(b"of an earlier scoring")
  items = dataset.load(written.write(tmp_path / "data", 1), 1).items
  samples = [samples_lib.missing("T2I_Long", 0)]
  assert not sheet.write(path, tmp_path, items, samples)
  assert not path.exists()
