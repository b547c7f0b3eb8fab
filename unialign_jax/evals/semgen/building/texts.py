"""The prompts of a set, as the model wrote them and persons left them."""

import dataclasses
import json
import pathlib

from etils import epath

from unialign_jax.evals.judge import asking
from unialign_jax.evals.judge import judge as judge_lib
from unialign_jax.evals.judge import ledger as ledger_lib
from unialign_jax.evals.judge import replies
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen import layout
from unialign_jax.evals.semgen.building import checks
from unialign_jax.evals.semgen.building import proposals
from unialign_jax.evals.semgen.building import reviews as reviews_lib
from unialign_jax.evals.semgen.building import selection
from unialign_jax.features import files

PROPOSALS = "proposals.jsonl"
REVIEWS = "reviews.jsonl"
DRAFTS = "drafts.jsonl"
OPEN, REJECTED = "not reviewed", "rejected"
_ATTEMPTS = 5  # at one text; the checks are strict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draft:
  """What the model wrote for one prompt; the names are the keys of a line.

  Attributes:
    image_id, field: whose.
    text: "" where it wrote none that passes the checks.
    problem: why not.
    revision: how many texts had been rejected before.
  """

  image_id: int
  field: str
  text: str
  problem: str
  revision: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
  """One prompt as it stands.

  Attributes:
    image_id, field: whose.
    text: "" where there is none yet.
    status: "accepted", "edited", "rejected", "not reviewed", or the problem.
    reviewer: who decided, if anybody.
  """

  image_id: int
  field: str
  text: str
  status: str
  reviewer: str = ""


def write(
  out: pathlib.Path,
  selected: selection.Selected,
  reviews: reviews_lib.Reviews,
  writer: judge_lib.Judge,
  *,
  tokens: checks.Tokens = checks.words_and_marks,
) -> list[Draft]:
  """Has all prompts written that are missing, and keeps the drafts.

  Args:
    out: folder of the set.
    selected: its photographs.
    reviews: a text that was rejected is written anew.
    writer: the vision-language model.
    tokens: counts those of a long prompt.

  Raises:
    JudgeLost, Unusable: see `asking.answers`.
  """
  asked = [(one, p) for one in selected.chosen for p in proposals.ALL]
  questions = [
    _question(out, one, proposal, reviews, tokens) for one, proposal in asked
  ]
  with ledger_lib.Ledger(out / PROPOSALS) as ledger:
    found = asking.answers(writer, questions, ledger, attempts=_ATTEMPTS)
  drafts = [
    _draft(one.image_id, proposal.field, result, reviews)
    for (one, proposal), result in zip(asked, found, strict=True)
  ]
  rows = [json.dumps(dataclasses.asdict(d), ensure_ascii=False) for d in drafts]
  text = "".join(f"{row}\n" for row in rows)
  files.write(epath.Path(out / DRAFTS), text.encode())
  return drafts


def read(out: pathlib.Path) -> list[Draft]:
  """The drafts that `write` kept.

  Raises:
    ValueError: none yet, or another file.
  """
  path = out / DRAFTS
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Draft(**json.loads(line)) for line in lines]
  except (OSError, ValueError, TypeError) as error:
    raise ValueError(
      f"{path}: cannot be read ({error}), expected the prompts that `semgen"
      " build` has had written"
    ) from error


def settled(draft: Draft, reviews: reviews_lib.Reviews) -> Text:
  """A prompt as it stands after all decisions."""
  state = reviews.state(draft.image_id, draft.field)
  last, reviewer = state.last, ""
  if last is not None and last.decision == "edit":
    text, status, reviewer = last.new, "edited", last.reviewer
  elif len(state.rejected) > draft.revision:
    text, status = "", REJECTED
  elif last is not None and last.text == draft.text:
    text, status, reviewer = draft.text, "accepted", last.reviewer
  else:
    text, status = draft.text, draft.problem or OPEN
  return Text(
    image_id=draft.image_id,
    field=draft.field,
    text=text,
    status=status,
    reviewer=reviewer,
  )


def _question(
  out: pathlib.Path,
  one: selection.Chosen,
  proposal: proposals.Proposal,
  reviews: reviews_lib.Reviews,
  tokens: checks.Tokens,
) -> asking.Question:
  rejected = [
    (decision.text, decision.comment)
    for decision in reviews.state(one.image_id, proposal.field).rejected
  ]
  photograph = out / dataset.IMAGES / selection.image_name(one)
  return asking.Question(
    key=f"{proposal.field}/{one.image_id}",
    rubric=proposal.id,
    prompt=proposal.question(one.caption, rejected),
    images=lambda: [layout.read(photograph)],
    parse=lambda reply: proposal.parse(reply, tokens),
  )


def _draft(
  image_id: int,
  field: str,
  result: asking.Read,
  reviews: reviews_lib.Reviews,
) -> Draft:
  failed = isinstance(result, replies.Unparsed)
  return Draft(
    image_id=image_id,
    field=field,
    text="" if failed else result,
    problem=f"{result.reason}: {result.detail}" if failed else "",
    revision=len(reviews.state(image_id, field).rejected),
  )
