"""ImgEdit-Bench's pictures before a judge: one question an edit."""

import json
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from etils import epath
from PIL import Image

from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures
from unialign_jax.evals.imgedit import dataset
from unialign_jax.evals.imgedit import layout
from unialign_jax.evals.imgedit import replies
from unialign_jax.evals.judge import asking
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.judge import replies as judge_replies
from unialign_jax.features import files

FILE = "judgements.jsonl"
# The official format, {key: reply}; the official name is result.json.
REPLIES = "own_judge_result.json"
# One more key in it, which stays when the file is copied or renamed. The
# official scripts leave out a text without a line like "Name: 4".
MADE_BY = "made_by"


def run(
  out: pathlib.Path,
  items: Sequence[dataset.Item],
  judge: judge_lib.Judge,
  attempts: int,
  rubric: str,
  word: Callable[[str, str], str],
) -> dict[str, str | None]:
  """What the judge wrote about each picture that is there, by key.

  None where no reply could be read. `REPLIES` is written anew.

  Args:
    out: the folder of results; `FILE` in it is read and appended to.
    items: with their pictures.
    judge: asked once a picture.
    attempts: most replies to one question.
    rubric: id of the words.
    word: gives the question, from type and prompt.

  Raises:
    ValueError: a file that is no picture.
    JudgeError: as `asking.answers`.
  """
  there = [item for item in items if (out / layout.edited(item)).exists()]
  texts: dict[str, str | None] = dict.fromkeys(item.key for item in there)
  questions = [
    asking.Question(
      key=item.key,
      rubric=rubric,
      prompt=word(item.kind, item.prompt),
      images=lambda item=item: _both(out, item),
      parse=_Reader(texts, item.key),
    )
    for item in there
  ]
  with ledger_lib.Ledger(out / FILE) as ledger:
    asking.answers(judge, questions, ledger, attempts=attempts)
  _write(out / REPLIES, texts, judge)
  return texts


class _Reader:
  """Reads scores, and keeps the reply that they were read in."""

  def __init__(self, texts: dict[str, str | None], key: str):
    self._texts, self._key = texts, key

  def __call__(
    self, reply: str
  ) -> judge_replies.Scores | judge_replies.Unparsed:
    found = replies.parse(reply)
    if not isinstance(found, judge_replies.Unparsed):
      self._texts[self._key] = reply
    return found


def _both(out: pathlib.Path, item: dataset.Item) -> list[Image.Image]:
  data = item.picture
  if isinstance(data, pathlib.Path):
    data = data.read_bytes()
  path = out / layout.edited(item)
  return [
    _decoded(data, f"the source of {item.key}"),
    _decoded(path.read_bytes(), str(path)),
  ]


def _decoded(data: bytes, name: str) -> Image.Image:
  try:
    return Image.fromarray(pictures.decode(base.Picture(data)))
  except pictures.PictureError as error:
    raise ValueError(
      f"{name}: got no picture ({error}); get it or make it again"
    ) from error


def _write(
  path: pathlib.Path,
  texts: Mapping[str, str | None],
  judge: judge_lib.Judge,
) -> None:
  said = {MADE_BY: f"{judge.identity} (asked with {judge.libraries})"}
  said |= {key: text for key, text in texts.items() if text is not None}
  text = json.dumps(said, indent=4, ensure_ascii=False)
  # Half a surrogate pair, which a judge may write, becomes JSON's own escape.
  files.write(epath.Path(path), text.encode(errors="backslashreplace"))
