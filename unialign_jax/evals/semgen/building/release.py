"""The files of a finished set."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from etils import epath

from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import datasheet
from unialign_jax.evals.semgen.building import proposals
from unialign_jax.evals.semgen.building import selection
from unialign_jax.evals.semgen.building import texts as texts_lib
from unialign_jax.features import files

DATASHEET = "datasheet.md"


def write(
  out: pathlib.Path,
  selected: selection.Selected,
  texts: Sequence[texts_lib.Text],
  writer: str,
) -> bool:
  """Writes the set and its datasheet, if no prompt is missing.

  Args:
    out: folder of the set.
    selected: its photographs.
    texts: as they stand.
    writer: what wrote them.

  Returns:
    Whether it is whole.
  """
  lines = out / dataset.LINES
  if not all(text.text for text in texts):
    lines.unlink(missing_ok=True)
    return False
  by_image: dict[int, dict[str, texts_lib.Text]] = {}
  for text in texts:
    by_image.setdefault(text.image_id, {})[text.field] = text
  rows = [_line(one, by_image[one.image_id], writer) for one in selected.chosen]
  data = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
  files.write(epath.Path(lines), data.encode())
  sheet = datasheet.markdown(selected, texts, writer, data.encode())
  files.write(epath.Path(out / DATASHEET), sheet.encode())
  return True


def _line(
  one: selection.Chosen, texts: Mapping[str, texts_lib.Text], writer: str
) -> dict[str, Any]:
  """The six fields of the released set, then where all comes from."""
  reviewers = sorted({t.reviewer for t in texts.values() if t.reviewer})
  return {
    "image_id": one.image_id,
    "image_path": f"{dataset.IMAGES}/{selection.image_name(one)}",
    **{group.field: texts[group.field].text for group in dataset.GROUPS},
    **{
      name: value
      for name, value in dataclasses.asdict(one).items()
      if name not in ("image_id", "name")
    },
    "prompt_source": {
      "writer": writer,
      "wordings": {p.field: p.id for p in proposals.ALL},
    },
    "review": {field: text.status for field, text in texts.items()},
    "refined_by": reviewers,
  }
