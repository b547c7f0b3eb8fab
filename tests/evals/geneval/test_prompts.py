"""The census of GenEval's prompts."""

import pathlib

import pytest

from tests.evals.geneval import files
from unialign_jax.evals.geneval import prompts


def test_the_official_numbers_are_taken(tmp_path: pathlib.Path):
  lines = files.whole()
  path = files.write_prompts(tmp_path / prompts.FILES["short"], lines)
  found = prompts.read(path, "short", partial=False)
  assert len(found) == 553
  assert [prompt.index for prompt in found] == list(range(553))
  assert [dict(prompt.metadata) for prompt in found] == lines


@pytest.mark.parametrize("inside", ["", "prompts"])
@pytest.mark.parametrize("variant", ["short", "long"])
def test_a_folder_has_both_variants(
  tmp_path: pathlib.Path, inside: str, variant: str
):
  for name, file in prompts.FILES.items():
    lines = [line | {"prompt": name} for line in files.LINES]
    files.write_prompts(tmp_path / inside / file, lines)
  found = prompts.read(tmp_path, variant, partial=True)
  assert {prompt.text for prompt in found} == {variant}


def test_a_part_has_to_be_asked_for(tmp_path: pathlib.Path):
  path = files.write_prompts(tmp_path / "a.jsonl", files.whole()[:-1])
  with pytest.raises(ValueError, match=r"got 552 prompts.*partial=true"):
    prompts.read(path, "short", partial=False)
  assert len(prompts.read(path, "short", partial=True)) == 552


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"tag": "shapes"}, "tag: got 'shapes'"),
    ({"prompt": " "}, "prompt: got ' '"),
    ({"prompts": "x"}, r"got fields \['prompts'\]"),
    ({"include": []}, "include: got"),
    ({"include": [{"class": "cat"}]}, "count: got None"),
    ({"include": [{"class": "cat", "count": 0}]}, "count: got 0"),
    ({"include": [{"class": 7, "count": 1}]}, "class: got 7"),
    ({"include": [{"class": "cat", "count": 1, "size": 2}]}, "include 0: got"),
    (
      {"include": [{"class": "cat", "count": 1, "color": "teal"}]},
      "color: got 'teal'",
    ),
    (
      {"include": [{"class": "a", "count": 1, "position": ["left of", 0]}]},
      "position: got",
    ),
    (
      {
        "include": [
          {"class": "a", "count": 1},
          {"class": "b", "count": 1, "position": ["inside", 0]},
        ]
      },
      "position: got",
    ),
    ({"exclude": [{"class": "cat", "count": -1}]}, "exclude 0: count"),
  ],
)
def test_a_wrong_line_is_named(
  tmp_path: pathlib.Path, wrong: dict, message: str
):
  lines = [*files.LINES[:2], files.LINES[0] | wrong]
  path = files.write_prompts(tmp_path / "a.jsonl", lines)
  with pytest.raises(ValueError, match=message) as error:
    prompts.read(path, "short", partial=True)
  assert "line 3" in str(error.value)


def test_all_wrong_lines_come_in_one_message(tmp_path: pathlib.Path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"tag": "colors"}\nnot json\n[1]\n')
  with pytest.raises(ValueError) as error:
    prompts.read(path, "short", partial=True)
  for line in ("line 1", "line 2", "line 3"):
    assert line in str(error.value)


def test_what_is_not_there_is_named(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="--data: got none"):
    prompts.read(None, "short", partial=False)
  with pytest.raises(ValueError, match="evaluation_metadata_long"):
    prompts.read(tmp_path, "long", partial=False)
  with pytest.raises(ValueError, match="prompts=middle"):
    prompts.read(tmp_path, "middle", partial=False)
  with pytest.raises(ValueError, match="no such file"):
    prompts.read(tmp_path / "none.jsonl", "short", partial=False)
