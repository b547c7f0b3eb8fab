"""The judgements file survives any end."""

import dataclasses

import pytest
from PIL import Image

from unialign_jax.evals.judge import ledger as ledger_lib

LINE = ledger_lib.Line(
  key="edit_multi/3/edit-1",
  asked="ab",
  judge="fake",
  libraries="none",
  rubric="edit-1",
  attempt=0,
  reply='{"score": [7, 6.5]}',
  read=(7.0, 6.5),
)
LOST = dataclasses.replace(
  LINE, attempt=1, reply=None, read=None, reason="no reply", detail="ä"
)


def write(path, *lines):
  with ledger_lib.Ledger(path) as ledger:
    for line in lines:
      ledger.add(line)


def test_lines_are_found_again(tmp_path):
  path = tmp_path / "judgements.jsonl"
  write(path, LINE)
  write(path, LOST, dataclasses.replace(LINE, attempt=2))
  with ledger_lib.Ledger(path) as ledger:
    found = ledger.replies(LINE.key, "ab")
    assert found == [LINE, dataclasses.replace(LINE, attempt=2)]
    assert ledger.replies(LINE.key, "cd") == []
    assert ledger.replies("other", "ab") == []
  assert len(path.read_text().splitlines()) == 3


def test_a_torn_last_line_is_taken_off(tmp_path):
  path = tmp_path / "judgements.jsonl"
  write(path, LINE, dataclasses.replace(LINE, attempt=1))
  path.write_bytes(path.read_bytes()[:-20])
  write(path, dataclasses.replace(LINE, attempt=7))
  with ledger_lib.Ledger(path) as ledger:
    attempts = [line.attempt for line in ledger.replies(LINE.key, "ab")]
  assert attempts == [0, 7]


@pytest.mark.parametrize("text", ["{", "[]", '{"key": "a"}'])
def test_a_damaged_line_is_named(tmp_path, text):
  path = tmp_path / "judgements.jsonl"
  write(path, LINE)
  with path.open("a") as file:
    file.write(f"{text}\n")
  with pytest.raises(ValueError, match=r"judgements\.jsonl, line 2: got"):
    ledger_lib.Ledger(path)
  path.write_text("")  # it is not locked any more
  write(path, LINE)


def test_two_runs_do_not_write_one_file(tmp_path):
  path = tmp_path / "judgements.jsonl"
  with (
    ledger_lib.Ledger(path),
    pytest.raises(ValueError, match="another run is writing it"),
  ):
    ledger_lib.Ledger(path)


def test_the_digest_changes_with_all_that_may_change_a_reply():
  red, blue = (Image.new("RGB", (4, 2), c) for c in ("red", "blue"))
  asked = [
    ("j", "p", [red]),
    ("k", "p", [red]),
    ("j", "q", [red]),
    ("jp", "", [red]),
    ("j", "p", [blue]),
    ("j", "p", [red, blue]),
    ("j", "p", [blue, red]),
    ("j", "p", [red.resize((2, 4))]),
    ("j", "p", []),
  ]
  digests = [ledger_lib.digest(*one) for one in asked]
  assert len(set(digests)) == len(asked)
  assert ledger_lib.digest("j", "p", [red.copy()]) == digests[0]
