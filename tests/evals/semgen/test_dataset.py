"""What a folder of SemGen-Bench has to be."""

import hashlib
import json
import os
import pathlib

import pytest

from tests.evals.semgen import written
from unialign_jax.evals.semgen import dataset


def test_a_set(tmp_path):
  folder = written.write(tmp_path, 3)
  found = dataset.load(folder, 3)
  lines = (folder / dataset.LINES).read_bytes()
  assert found.sha256 == hashlib.sha256(lines).hexdigest()
  assert not found.is_released
  assert [item.key for item in found.items] == [0, 1, 2]
  assert [item.image_id for item in found.items] == [1, 2, 3]
  assert found.items[2].photograph == folder / "images" / "3.jpg"
  assert found.items[1].prompts == {
    "t2i_long": "t2i_long of 1",
    "t2i_complex": "t2i_complex of 1",
    "edit_multi": "edit_multi of 1",
    "edit_complex": "edit_complex of 1",
  }


def test_the_folder_of_the_environment(tmp_path, monkeypatch):
  monkeypatch.setenv(dataset.VARIABLE, str(written.write(tmp_path, 2)))
  assert len(dataset.load(None, 2).items) == 2
  monkeypatch.delenv(dataset.VARIABLE)
  with pytest.raises(ValueError, match=r"neither --data nor \$UNIALIGN_SEMGEN"):
    dataset.load(None)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"t2i_long": " "}, "line 2: got no text in t2i_long"),
    ({"edit_complex": 3}, "line 2: got no text in edit_complex"),
    ({"image_id": 3}, "line 2: got image_id 3, expected 2"),
    ({"image_path": "x/7.jpg"}, "line 2: got no file .*7.jpg"),
    (None, "line 2: got no JSON"),
    ([], "line 2: got no image_id, image_path, t2i_long"),
    ({"edit_multi": ...}, "line 2: got no edit_multi$"),
  ],
)
def test_lines_that_are_none(tmp_path, change, message):
  folder = written.write(tmp_path, 3)
  lines = [written.line(key) for key in range(3)]
  if isinstance(change, dict):
    lines[1] = {k: v for k, v in (lines[1] | change).items() if v is not ...}
  else:
    lines[1] = change
  text = "\n".join("{" if x is None else json.dumps(x) for x in lines)
  (folder / dataset.LINES).write_text(text)
  with pytest.raises(ValueError, match=message):
    dataset.load(folder, 3)


def test_another_number_of_lines(tmp_path):
  folder = written.write(tmp_path, 3)
  with pytest.raises(ValueError, match=r"got 3 lines, expected 150; .*items=N"):
    dataset.load(folder)


def test_no_lines_at_all(tmp_path):
  with pytest.raises(ValueError, match=r"semgen_bench\.jsonl: cannot be read"):
    dataset.load(tmp_path)


@pytest.mark.skipif(
  not os.environ.get(dataset.VARIABLE),
  reason="$UNIALIGN_SEMGEN does not name a folder of SemGen-Bench",
)
def test_the_released_set():
  found = dataset.load(pathlib.Path(os.environ[dataset.VARIABLE]))
  assert found.is_released
  assert len(found.items) == 150
  for item in found.items:
    assert item.prompts["edit_multi"].count(".") >= 3
    assert len(item.prompts["t2i_long"]) > len(item.prompts["t2i_complex"])
