"""Builds a benchmark in SemGen-Bench's format, and has persons review it.

  python -m unialign_jax.semgen build --images=DIR --captions=FILE --out=SET \\
    --encoder=MODEL --judge=URL --judge_model=NAME

chooses photographs and has their prompts written. The same command goes on
where an earlier one stopped, and takes over what was decided since by

  python -m unialign_jax.semgen review --out=SET --reviewer=NAME

which opens a page on this machine; with --sheet=FILE the prompts go into a
file of JSON lines instead, and with --decisions=FILE they come back with the
decisions in it. docs/benchmarks.md tells more.
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import app
from absl import flags
from absl import logging

from unialign_jax import interrupts
from unialign_jax.evals.judge import flags as judge_flags
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import checks
from unialign_jax.evals.semgen.building import embedding
from unialign_jax.evals.semgen.building import filters
from unialign_jax.evals.semgen.building import pool
from unialign_jax.evals.semgen.building import release
from unialign_jax.evals.semgen.building import reviewing
from unialign_jax.evals.semgen.building import reviews as reviews_lib
from unialign_jax.evals.semgen.building import selection
from unialign_jax.evals.semgen.building import texts as texts_lib
from unialign_jax.features.captioning import length
from unialign_jax.vlm import asking

_writer = judge_flags.define(max_tokens=1024)
_OUT = flags.DEFINE_string("out", None, "Folder of the set.", required=True)
_IMAGES = flags.DEFINE_string("images", "", "Folder to choose from.")
_CAPTIONS = flags.DEFINE_string("captions", "", "COCO's captions_*.json of it.")
_ENCODER = flags.DEFINE_string(
  "encoder", "", "Model of sentence-transformers, or MODULE:FACTORY."
)
_EMBEDDINGS = flags.DEFINE_string("embeddings", "", "Vectors made elsewhere.")
_SIZE = flags.DEFINE_integer("size", dataset.SIZE, "Photographs of the set.", 1)
_CLUSTERS = flags.DEFINE_integer("clusters", 15, "Categories.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the choice.", 0)
_MIN_SHARPNESS = flags.DEFINE_float(
  "min_sharpness", filters.Bounds.min_sharpness, "Of a photograph.", 0
)
_MIN_SIDE = flags.DEFINE_integer(
  "min_side", filters.Bounds.min_side, "Pixels of the shorter side.", 1
)
_TOKENIZER = flags.DEFINE_string(
  "tokenizer", "", "Counts the tokens of long prompts; none: words and marks."
)
_REVIEWER = flags.DEFINE_string("reviewer", "", "Who decides.")
_PORT = flags.DEFINE_integer("port", 0, "Of the page; 0 for any.", 0, 65535)
_SHEET = flags.DEFINE_string("sheet", "", "File to write prompts into.")
_DECISIONS = flags.DEFINE_string("decisions", "", "File to read decisions of.")


class _Unfinished(Exception):
  """Some prompts could not be written; each has been named."""


def main(argv: Sequence[str]) -> None:
  if argv[1:] == ["build"]:
    _build()
  elif argv[1:] == ["review"]:
    _review()
  else:
    raise ValueError(f"got {argv[1:]}, expected one of: build, review.")


def _build() -> None:
  if not _IMAGES.value:
    raise ValueError("--images: got none, expected the folder to choose from")
  selected = selection.select(_plan(), _vectors_of)
  print(f"{len(selected.chosen)} photographs are chosen: {selected.counts}")
  writer = _writer()
  if writer is None:
    print("for the prompts, name a model: --judge=URL --judge_model=NAME")
    return
  out = pathlib.Path(_OUT.value)
  with reviews_lib.Reviews(out / texts_lib.REVIEWS) as reviews:
    drafts = texts_lib.write(out, selected, reviews, writer, tokens=_tokens())
    texts = [texts_lib.settled(draft, reviews) for draft in drafts]
  missing = [text for text in texts if not text.text]
  for text in missing[:20]:
    print(f"{text.field} of {text.image_id}: {text.status}", file=sys.stderr)
  if not release.write(out, selected, texts, writer.identity):
    raise _Unfinished(
      f"{len(missing)} of {len(texts)} prompts are missing; write them by"
      " review, or give another --judge_seed or model"
    )
  print(out / dataset.LINES)


def _plan() -> selection.Plan:
  return selection.Plan(
    out=pathlib.Path(_OUT.value),
    images=pathlib.Path(_IMAGES.value),
    captions=pathlib.Path(_CAPTIONS.value) if _CAPTIONS.value else None,
    size=_SIZE.value,
    clusters=_CLUSTERS.value,
    seed=_SEED.value,
    vectors=_ENCODER.value or pathlib.Path(_EMBEDDINGS.value).name,
    bounds=filters.Bounds(
      min_side=_MIN_SIDE.value, min_sharpness=_MIN_SHARPNESS.value
    ),
  )


def _vectors_of(
  candidates: Sequence[pool.Candidate],
) -> tuple[np.ndarray, str]:
  path = pathlib.Path(_EMBEDDINGS.value) if _EMBEDDINGS.value else None
  return embedding.by(pathlib.Path(_OUT.value), _ENCODER.value, path)(
    candidates
  )


def _tokens() -> checks.Tokens:
  if not _TOKENIZER.value:
    return checks.words_and_marks
  tokenizer = length.load_tokenizer(_TOKENIZER.value)
  return lambda text: len(tokenizer(text)["input_ids"])


def _review() -> None:
  with reviewing.Review(pathlib.Path(_OUT.value)) as review:
    if _SHEET.value:
      count = review.write_sheet(pathlib.Path(_SHEET.value))
      print(f"{count} prompts to decide on: {_SHEET.value}")
      return
    if not _REVIEWER.value:
      raise ValueError("--reviewer: got none, expected who decides")
    if _DECISIONS.value:
      path = pathlib.Path(_DECISIONS.value)
      count = review.read_sheet(path, _REVIEWER.value)
      print(f"{count} decisions; run build to have them in the set")
      return
    page = review.page(_REVIEWER.value, _PORT.value)
    print(f"{page.url} (Ctrl-C ends it; then run build again)", flush=True)
    page.serve()


def cli() -> None:
  """Runs `main`; what cannot work is one message and status 1."""

  def quiet(argv: Sequence[str]) -> None:
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.ERROR)
    main(argv)

  interrupts.keep()
  try:
    app.run(quiet)
  except (ValueError, asking.Unusable) as error:
    sys.exit(f"error: {error}")
  except (_Unfinished, judge_lib.JudgeError) as error:
    sys.exit(str(error))
  except KeyboardInterrupt:
    print("interrupted; the same command goes on from here", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
  cli()
