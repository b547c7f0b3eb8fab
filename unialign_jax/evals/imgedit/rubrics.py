"""What a judge is asked about an edit, by its type, in this project's words.

The criteria and the scale are ImgEdit-Bench's; its own words are the user's to
get (prompts.json), as they have no licence. A text that changes gets a new id.
"""

import hashlib
import pathlib

from unialign_jax import strict_json
from unialign_jax.evals.imgedit import dataset

ID = "imgedit-1"
_PLACE = "<edit_prompt>"

_TASK = (
  "You grade edits of photographs. The first picture is the original, the"
  " second what an editing program made of it when it was told what stands"
  " between <<< and >>>. If the program failed, both may look the same."
)
_SCALE = (
  "Give each of the three a whole number from 1 (a failure) to 5 (nothing left"
  " to wish for). Neither of the last two may be above the first: an edit that"
  " was not made cannot have been made well."
)
_FORMAT = (
  "Reply with exactly four lines and nothing else:\n"
  "Brief reasoning: at most 20 words\n"
  "{0}: number\n{1}: number\n{2}: number"
)

_COMMON = (
  (
    "Compliance",
    "is all of it done that was asked for, to the right thing, and nothing"
    " else?",
  ),
  (
    "Seamlessness",
    "does the edit look as if it had always been there: edges, color, texture,"
    " sharpness?",
  ),
  (
    "Fidelity",
    "are light, shadow, scale and perspective possible, and is every detail"
    " that was not to change as it was?",
  ),
)
_CRITERIA = {
  "style": (
    ("Style", "does the picture have the style that was asked for?"),
    (
      "Content",
      "are the things in it, and how they are arranged, still there?",
    ),
    ("Rendering", "is it well made, without artefacts, all over alike?"),
  ),
  "action": (
    ("Action", "does the subject do, or look, what was asked for?"),
    ("Identity", "is it the same subject, in the same surroundings?"),
    ("Coherence", "are body, limbs and the picture as a whole possible?"),
  ),
  "extract": (
    ("Selection", "is the right thing there, and only that?"),
    ("Cleanness", "is its outline exact, and all around it pure white?"),
    ("Integrity", "is the thing itself whole and unchanged?"),
  ),
}


def question(kind: str, prompt: str) -> str:
  """What the judge is told.

  Args:
    kind: one of `dataset.COUNTS`.
    prompt: of the edit.
  """
  criteria = _CRITERIA.get(kind, _COMMON)
  lines = [
    f"{number}. {name}: {text}"
    for number, (name, text) in enumerate(criteria, start=1)
  ]
  names = [name for name, _ in criteria]
  return "\n\n".join(
    [
      _TASK,
      "Grade three things.\n" + "\n".join(lines),
      _SCALE,
      f"<<<\n{prompt.strip()}\n>>>",
      _FORMAT.format(*names),
    ]
  )


class Official:
  """The official words, of the user's copy of `prompts.json`.

  Args:
    path: of the file.

  Attributes:
    id: of these words.

  Raises:
    ValueError: no such file, or not a text with <edit_prompt> for each type.
  """

  def __init__(self, path: pathlib.Path):
    try:
      data = path.read_bytes()
      self._texts = strict_json.document(data)
      missing = [
        kind for kind in dataset.COUNTS if _PLACE not in self._texts[kind]
      ]
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"--set rubrics={path}: got {error!r}, expected ImgEdit's prompts.json:"
        f" a text for each of {list(dataset.COUNTS)}."
      ) from error
    if missing:
      raise ValueError(
        f"--set rubrics={path}: got texts without {_PLACE} for {missing},"
        " expected ImgEdit's prompts.json."
      )
    self.id = f"imgedit-official-{hashlib.sha256(data).hexdigest()[:12]}"

  def question(self, kind: str, prompt: str) -> str:
    """As `question`."""
    return self._texts[kind].replace(_PLACE, prompt)
