"""Real photographs end to end, judged over HTTP by what is in the pictures.

Needs SemGen-Bench as the UniAlignment authors publish it in the folder
$UNIALIGN_SEMGEN.
"""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.vlm import server as server_lib
from unialign_jax.evals import registry
from unialign_jax.evals.judge import vlm_judge
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import layout

_FOLDER = os.environ.get(dataset.VARIABLE, "")
pytestmark = pytest.mark.skipif(
  not _FOLDER, reason="$UNIALIGN_SEMGEN does not name a folder of SemGen-Bench"
)
pytest.importorskip("openai")
BENCH = registry.load("semgen")
COUNT = 8
SETTINGS = {"limit": COUNT}
# How much of an edit is another photograph: none of it, to all of it.
MIXED = tuple(key / (COUNT - 1) for key in range(COUNT))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
  """A model that squashes to 256 pixels, and edits as `MIXED` says."""
  folder = tmp_path_factory.mktemp("out")
  photographs = [
    layout.squashed(item.photograph)
    for item in dataset.load(pathlib.Path(_FOLDER)).items[: COUNT + 1]
  ]
  for group in dataset.GROUPS:
    for key in range(COUNT):
      image = photographs[key]
      if group.is_edit:
        image = Image.blend(image, photographs[key + 1], MIXED[key])
      path = folder / layout.picture(group, key)
      path.parent.mkdir(parents=True, exist_ok=True)
      image.resize((256, 256)).save(path)
  BENCH.finish(folder, pathlib.Path(_FOLDER), SETTINGS)
  return folder


def contrast(image: Image.Image) -> float:
  return min(float(np.asarray(image.convert("L")).std()) / 10, 10.0)


def likeness(before: Image.Image, after: Image.Image) -> float:
  a, b = (np.asarray(one.convert("RGB"), np.float64) for one in (before, after))
  return max(10 - np.abs(a - b).mean() / 8, 0.0)


def reply(seen: server_lib.Seen, number: int) -> server_lib.Reply:
  """Restraint is how like its source an edit is, PQ its contrast."""
  del number
  last = seen.images[-1]
  if "What it was asked for does not matter" in seen.prompt:
    scores = [10, round(contrast(last), 3)]
  elif len(seen.images) == 2:
    assert seen.images[0].size == last.size == (512, 512)
    scores = [9.5, round(likeness(*seen.images), 3)]
  else:
    assert last.size == (256, 256)
    scores = [8, 10]
  text = json.dumps({"score": scores, "reasoning": "as measured"})
  return server_lib.Reply(text=f"```json\n{text}\n```")


def test_scores_follow_the_pictures(out, monkeypatch):
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  with server_lib.Server(reply) as server:
    judge = vlm_judge.at_endpoint(
      server.url, "measure", vlm_judge.Settings(concurrency=4)
    )
    result = BENCH.score(out, pathlib.Path(_FOLDER), SETTINGS, judge)
    judge.close()
  assert len(server.seen) == 2 * 4 * COUNT
  text = (out / "samples-release.jsonl").read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  assert {row["status"] for row in rows} == {"scored"}
  assert rows[0]["text"].startswith("A bustling urban intersection")
  by_group = {
    group.name: [row for row in rows if row["group"] == group.name]
    for group in dataset.GROUPS
  }
  assert [row["IC"] for row in by_group["T2I_Long"]] == [8.0] * COUNT
  edits = [row["IC"] for row in by_group["Edit_Sem"]]
  assert edits[0] > 9 and edits[-1] < 6 and edits[0] - edits[3] > 1
  # PQ is of each group's own pictures.
  for row, mixed in zip(by_group["T2I_Sem"], by_group["Edit_Multi"]):
    assert row["PQ"] == pytest.approx(_contrast_of(out, row["key"]), abs=1e-3)
    assert (row["PQ"] == mixed["PQ"]) == (row["key"] == 0)
  scores = {(s.group, s.metric): s for s in result.scores}
  for name, found in by_group.items():
    means = {m: np.mean([row[m] for row in found]) for m in ("IC", "PQ", "O")}
    for metric, mean in means.items():
      assert scores[name, metric].value == pytest.approx(mean)
    assert means["O"] <= np.sqrt(means["IC"] * means["PQ"]) + 1e-9
  assert scores["Edit_Sem", "IC"].low < scores["Edit_Sem", "IC"].high
  assert any("as the authors released them" in note for note in result.notes)
  assert any("first 8 of 150" in note for note in result.notes)
  assert (out / "best_worst-release.png").is_file()


def _contrast_of(out: pathlib.Path, key: int) -> float:
  return contrast(layout.read(out / f"fullset/t2i_complex/{key}.png"))
