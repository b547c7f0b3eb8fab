"""What a reader must know of a set that was built here, as Markdown."""

import collections
import hashlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import checks
from unialign_jax.evals.semgen.building import proposals
from unialign_jax.evals.semgen.building import selection
from unialign_jax.evals.semgen.building import texts as texts_lib


def markdown(
  selected: selection.Selected,
  texts: Sequence[texts_lib.Text],
  writer: str,
  lines: bytes,
) -> str:
  """The datasheet, in the order of Gebru et al. (arXiv 1803.09010).

  Args:
    selected: the photographs.
    texts: the prompts, all there.
    writer: what wrote them.
    lines: of the set, as they are on disk.
  """
  size = len(selected.chosen)
  settings = selected.settings
  return "\n".join(
    [
      "# Datasheet",
      "",
      "## Motivation",
      "",
      "Text-to-image generation and image editing under long, compositional"
      " and reasoning-heavy prompts, in the format of SemGen-Bench (arXiv"
      " 2509.23760). This is a set of its own: numbers on it are not numbers on"
      " the released one.",
      "",
      "## Composition",
      "",
      f"{size} photographs, {len(texts)} prompts, in {dataset.LINES} (sha256"
      f" {hashlib.sha256(lines).hexdigest()}).",
      "",
      _table(["prompt", "shortest", "median", "longest"], _lengths(texts)),
      "",
      "Lengths are words and punctuation marks.",
      "",
      _table(["license", "photographs"], _licenses(selected)),
      "",
      "## Collection",
      "",
      f"Pool: {sum(selected.counts.values())} photographs"
      f"{_of(settings['captions'])}.",
      "",
      _table(["what became of them", "photographs"], selected.counts.items()),
      "",
      _table(["bound", "value"], settings["bounds"].items()),
      "",
      f"Vectors: {selected.encoder}. Ward's method gave"
      f" {settings['clusters']} clusters of {list(selected.cluster_sizes)}"
      f" photographs; {size // settings['clusters']} of each were chosen, the"
      f" first by seed {settings['seed']}, then always the one farthest from"
      " those chosen.",
      "",
      "## Labelling",
      "",
      f"Written by {writer}, with the wordings"
      f" {', '.join(p.id for p in proposals.ALL)}. A text that failed a check"
      " was written anew. Checked by program: lengths (long prompts of at least"
      f" {checks.MIN_LONG_TOKENS} tokens), that the words given for"
      f" {', '.join(checks.ASPECTS)} stand in a semantic prompt, three"
      " independent imperative sentences, one sentence for a semantic edit."
      " Not checked by program: whether what is said is true, and whether the"
      " reasoning is any.",
      "",
      _table(["review", "prompts"], _reviews(texts)),
      "",
      "## Uses",
      "",
      "python -m unialign_jax.evaluate --benchmark=semgen --data=THIS_FOLDER"
      f"{'' if size == dataset.SIZE else f' --set items={size}'}. The"
      " photographs may be in the training data of the models that are"
      " compared. The writer may favor models that were trained on texts of its"
      " like.",
      "",
    ]
  )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
  lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
  lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
  return "\n".join(lines)


def _lengths(
  texts: Sequence[texts_lib.Text],
) -> list[tuple[str, int, int, int]]:
  rows = []
  for group in dataset.GROUPS:
    counts = sorted(
      checks.words_and_marks(text.text)
      for text in texts
      if text.field == group.field
    )
    middle = counts[len(counts) // 2]
    rows.append((group.field, counts[0], middle, counts[-1]))
  return rows


def _licenses(selected: selection.Selected) -> list[tuple[str, int]]:
  known = (one.license or "not known" for one in selected.chosen)
  return sorted(collections.Counter(known).items())


def _reviews(texts: Sequence[texts_lib.Text]) -> list[tuple[str, int]]:
  return sorted(collections.Counter(text.status for text in texts).items())


def _of(captions: str) -> str:
  return f" that {captions} lists" if captions else ""
