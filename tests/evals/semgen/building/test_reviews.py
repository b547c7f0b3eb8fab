"""Decisions, and what they make of a draft."""

import pytest

from unialign_jax.evals.semgen.building import reviews as reviews_lib
from unialign_jax.evals.semgen.building import texts as texts_lib


def decision(name, text="A.", **changes):
  fields = dict(
    image_id=1, field="t2i_long", text=text, decision=name, reviewer="Ada"
  )
  return reviews_lib.Decision(**(fields | changes))


def draft(text="A.", revision=0, problem=""):
  return texts_lib.Draft(
    image_id=1,
    field="t2i_long",
    text=text,
    problem=problem,
    revision=revision,
  )


ACCEPT, REJECT = decision("accept"), decision("reject", comment="wrong")
EDIT = decision("edit", new="B.")


@pytest.mark.parametrize(
  ("decisions", "given", "expected"),
  [
    ([], draft(), ("A.", "not reviewed", "")),
    ([], draft("", problem="no object"), ("", "no object", "")),
    ([ACCEPT], draft(), ("A.", "accepted", "Ada")),
    # The model was asked otherwise since.
    ([ACCEPT], draft("C."), ("C.", "not reviewed", "")),
    ([EDIT], draft(), ("B.", "edited", "Ada")),
    ([EDIT], draft("C."), ("B.", "edited", "Ada")),
    ([REJECT], draft(), ("", "rejected", "")),
    ([REJECT], draft("C.", revision=1), ("C.", "not reviewed", "")),
    ([REJECT, REJECT], draft("C.", revision=1), ("", "rejected", "")),
    ([REJECT, EDIT], draft(), ("B.", "edited", "Ada")),
    ([EDIT, REJECT], draft(), ("", "rejected", "")),
    ([ACCEPT, EDIT], draft(), ("B.", "edited", "Ada")),
  ],
)
def test_what_stands(tmp_path, decisions, given, expected):
  path = tmp_path / "reviews.jsonl"
  with reviews_lib.Reviews(path) as reviews:
    for one in decisions:
      reviews.add(one)
    text = texts_lib.settled(given, reviews)
  assert (text.text, text.status, text.reviewer) == expected
  with reviews_lib.Reviews(path) as reviews:  # from the file alone
    assert texts_lib.settled(given, reviews) == text


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"name": "yes"}, "decision 'yes', expected one of"),
    ({"field": "t2i"}, "field 't2i', expected one of"),
    ({"name": "edit"}, "new text '', expected one with edit alone"),
    ({"new": "B."}, "new text 'B.', expected one with edit alone"),
    ({"reviewer": " "}, "no reviewer"),
    ({"text": ""}, "no text, expected one to accept"),
  ],
)
def test_decisions_that_are_none(changes, message):
  with pytest.raises(ValueError, match=message):
    decision(
      **(
        {"name": "accept"}
        | {"name": changes.pop("decision", "accept")}
        | changes
      )
    )


def test_a_damaged_line_is_named(tmp_path):
  path = tmp_path / "reviews.jsonl"
  path.write_text('{"image_id": 1}\n')
  with pytest.raises(ValueError, match=r"reviews\.jsonl, line 1"):
    reviews_lib.Reviews(path)
