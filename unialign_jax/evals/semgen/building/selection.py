"""The photographs of a set: fit ones, of all categories alike."""

import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from unialign_jax.evals import folder
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import clusters
from unialign_jax.evals.semgen.building import filters
from unialign_jax.evals.semgen.building import measuring
from unialign_jax.evals.semgen.building import pool
from unialign_jax.features import files

_NAME = "selection.json"
# Vectors of candidates, float32 [n, d] of length 1, and what made them.
VectorsOf = Callable[[Sequence[pool.Candidate]], tuple[np.ndarray, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
  """One photograph of the set; the names are keys of its line.

  Attributes:
    image_id: from 1, in an order that the seed decides.
    name: of the file in the pool.
    cluster: from 0, the largest of the pool first.
    caption, coco_id, license: see `pool.Candidate`.
    width, height: pixels.
    sha256: of the file.
  """

  image_id: int
  name: str
  cluster: int
  caption: str
  coco_id: int | None
  license: str
  width: int
  height: int
  sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """What is built.

  Attributes:
    out: folder of the set.
    images: folder of the pool.
    captions: COCO's captions of it, if there are any.
    size: photographs of the set.
    clusters: categories.
    seed: of the choice.
    vectors: name of the encoder or of the file of vectors.
    bounds: of what is fit.
  """

  out: pathlib.Path
  images: pathlib.Path
  captions: pathlib.Path | None = None
  size: int = dataset.SIZE
  clusters: int = 15
  seed: int = 0
  vectors: str = ""
  bounds: filters.Bounds = dataclasses.field(default_factory=filters.Bounds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selected:
  """The photographs of a set; the names are the keys of `selection.json`.

  Attributes:
    chosen: in the order of the set.
    counts: of the pool, by reason.
    cluster_sizes: of what was fit.
    encoder: what made the vectors.
    settings: of the choice.
  """

  chosen: Sequence[Chosen]
  counts: Mapping[str, int]
  cluster_sizes: Sequence[int]
  encoder: str
  settings: Mapping[str, Any]


def select(plan: Plan, vectors_of: VectorsOf) -> Selected:
  """Chooses the photographs, or reads what an earlier run chose.

  Args:
    plan: what is built.
    vectors_of: gives the vectors of candidates, and what made them.

  Raises:
    ValueError: a folder begun with other settings; a pool that is too small.
  """
  settings = _settings(plan)
  folder.open_settings(plan.out, settings, {"images": str(plan.images)})
  path = plan.out / _NAME
  if path.exists():
    return read_selection(plan.out)
  found = measuring.fit(
    pool.read(plan.images, plan.captions),
    plan.bounds,
    plan.out / "measured.jsonl",
    seed=plan.seed,
  )
  if len(found.candidates) < plan.size:
    raise ValueError(
      f"--images: got {len(found.candidates)} photographs that are fit"
      f" ({found.counts}), expected {plan.size} or many more"
    )
  vectors, encoder = vectors_of(found.candidates)
  chosen, sizes = choose(
    found,
    vectors,
    count=plan.size,
    num_clusters=plan.clusters,
    seed=plan.seed,
  )
  _copy_images(plan, chosen)
  selected = Selected(
    chosen=chosen,
    counts=found.counts,
    cluster_sizes=sizes,
    encoder=encoder,
    settings=settings,
  )
  text = json.dumps(dataclasses.asdict(selected), indent=1, ensure_ascii=False)
  files.write(epath.Path(path), f"{text}\n".encode())
  return selected


def read_selection(out: pathlib.Path) -> Selected:
  """What `select` chose.

  Raises:
    ValueError: nothing yet, or another file.
  """
  path = out / _NAME
  try:
    row = json.loads(path.read_text(encoding="utf-8"))
    chosen = [Chosen(**one) for one in row.pop("chosen")]
    return Selected(chosen=chosen, **row)
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path}: cannot be read ({error!r}), expected what `semgen build` writes"
      " there"
    ) from error


def choose(
  found: measuring.Fit,
  vectors: np.ndarray,
  *,
  count: int,
  num_clusters: int,
  seed: int,
) -> tuple[list[Chosen], list[int]]:
  """The photographs of a set, and the sizes of the clusters.

  Args:
    found: what there is to choose from.
    vectors: float32 [n, d] of length 1.
    count: of photographs, which the number of clusters divides.
    num_clusters: categories.
    seed: of the choice and of the order.

  Raises:
    ValueError: clusters that cannot be made, or are too small.
  """
  if count < 1 or num_clusters < 1 or count % num_clusters:
    raise ValueError(
      f"--size: got {count} photographs of {num_clusters} --clusters, expected"
      " equally many of each"
    )
  labels = clusters.ward(vectors, num_clusters)
  each = count // num_clusters
  picked = clusters.pick(vectors, labels, each, seed)
  order = np.random.default_rng([seed, 1]).permutation(picked)
  chosen = []
  for image_id, index in enumerate(order.tolist(), start=1):
    one, measured = found.candidates[index], found.measured[index]
    chosen.append(
      Chosen(
        image_id=image_id,
        name=one.name,
        cluster=int(labels[index]),
        caption=one.caption,
        coco_id=one.coco_id,
        license=one.license,
        width=measured.width,
        height=measured.height,
        sha256=hashlib.sha256(one.path.read_bytes()).hexdigest(),
      )
    )
  return chosen, np.bincount(labels).tolist()


def image_name(one: Chosen) -> str:
  """Of a photograph in the set."""
  return f"{one.image_id}{pathlib.PurePosixPath(one.name).suffix.lower()}"


def _settings(plan: Plan) -> dict[str, Any]:
  return {
    "size": plan.size,
    "clusters": plan.clusters,
    "seed": plan.seed,
    "vectors": plan.vectors,
    "bounds": dataclasses.asdict(plan.bounds),
    "captions": plan.captions.name if plan.captions else "",
  }


def _copy_images(plan: Plan, chosen: Sequence[Chosen]) -> None:
  target = plan.out / dataset.IMAGES
  target.mkdir(parents=True, exist_ok=True)
  for one in chosen:
    shutil.copyfile(plan.images / one.name, target / image_name(one))
