"""Lines that many threads append, and one run alone."""

import json
import threading

import pytest

from unialign_jax.vlm import journal


def test_lines_of_many_threads_are_whole(tmp_path):
  path = tmp_path / "new" / "lines.jsonl"
  written = journal.Journal(path)
  text = "ä" * 10_000

  def add(first):
    for number in range(first, first + 50):
      written.add({"number": number, "text": text})

  threads = [threading.Thread(target=add, args=(n * 50,)) for n in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  rows = [json.loads(line) for line in written.lines()]
  assert sorted(row["number"] for row in rows) == list(range(200))
  assert all(row["text"] == text for row in rows)
  written.close()


@pytest.mark.parametrize("torn", [b'{"a"', b"\xff", b'{"a": 1}'])
def test_a_torn_last_line_is_taken_off(tmp_path, torn):
  path = tmp_path / "lines.jsonl"
  path.write_bytes(b'{"a": 0}\n' + torn)
  opened = journal.Journal(path)
  assert list(opened.lines()) == [b'{"a": 0}\n']
  opened.add({"a": 2})
  assert path.read_bytes() == b'{"a": 0}\n{"a": 2}\n'
  opened.close()


def test_one_run_a_file(tmp_path):
  path = tmp_path / "lines.jsonl"
  first = journal.Journal(path)
  with pytest.raises(ValueError, match="another --judgements"):
    journal.Journal(path, "--judgements")
  first.close()
  journal.Journal(path).close()


def test_a_bucket_is_refused():
  with pytest.raises(ValueError, match="--out: got gs://b/x, expected a local"):
    journal.Journal("gs://b/x")
