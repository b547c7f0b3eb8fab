"""Tasks for lmms-eval over small local files, in the formats of three
benchmarks and one of the Shapes world; nothing is taken from the benchmarks.

It runs where lmms-eval is installed:

  python -m tests.evals.lmms_tasks FOLDER
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import datasets
import lmms_eval
import numpy as np
import yaml
from PIL import Image

from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import tasks

NUM_SHAPES = 12
TASKS = ("shapes_answers", "local_mmmu", "local_mmbench", "local_mmvet")
_BUILTIN = pathlib.Path(lmms_eval.__file__).parent / "tasks"
_Picture = tuple[Image.Image, str, str]  # with a question and its answer
_UTILS = """
def visual(doc):
  return [doc["image"].convert("RGB")]

def text(doc, lmms_eval_specific_kwargs=None):
  return doc["question"]

def process(doc, results):
  return {"right": float(results[0].strip() == doc["answer"])}

def mean(values):
  return sum(values) / len(values)
"""
_SHAPES = """
task: shapes_answers
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.visual
doc_to_text: !function utils.text
doc_to_target: answer
process_results: !function utils.process
generation_kwargs: {{max_new_tokens: 16, temperature: 0}}
metric_list:
  - {{metric: right, aggregation: !function utils.mean, higher_is_better: true}}
"""
_LOCAL = """
include: {builtin}
task: {task}
dataset_path: parquet
dataset_name: null
dataset_kwargs: {{data_files: {{{split}: {data}}}}}
# Words around the questions, which the Shapes model has not learnt.
lmms_eval_specific_kwargs:
  default:
    prompt_type: format
    multiple_choice_prompt: ""
    open_ended_prompt: ""
    pre_prompt: ""
    post_prompt: ""
"""


def write(folder: pathlib.Path) -> None:
  """Task files and data, for --include_path."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "utils.py").write_text(_UTILS)
  pictures = [_sample(i) for i in range(NUM_SHAPES)]
  data = _save(
    folder / "shapes.parquet",
    [
      {"image": image, "question": question, "answer": answer}
      for image, question, answer in pictures
    ],
  )
  (folder / "shapes_answers.yaml").write_text(_SHAPES.format(data=data))
  for task, builtin, split, rows in (
    ("local_mmmu", "mmmu/mmmu_val.yaml", "validation", _mmmu(pictures)),
    (
      "local_mmbench",
      "mmbench/mmbench_en_dev_static.yaml",
      "dev",
      _mmbench(pictures),
    ),
    ("local_mmvet", "mmvet/mmvet.yaml", "test", _mmvet(pictures)),
  ):
    data = _save(folder / f"{task}.parquet", rows)
    text = _LOCAL.format(
      builtin=_BUILTIN / builtin, task=task, split=split, data=data
    )
    yaml.safe_load(text)
    (folder / f"{task}.yaml").write_text(text)


def _sample(number: int) -> _Picture:
  sample = tasks.make(
    "understanding",
    np.random.default_rng(number),
    split="test",
    world=feature_sets.WORLD,
  )
  question = sample.question or "how many shapes are there?"
  return Image.fromarray(sample.target_image), question, sample.caption


def _mmmu(pictures: Sequence[_Picture]) -> list[dict[str, Any]]:
  """Two questions of one picture and one of two, which is too long, too."""
  (first, ask_first, answer_first), (second, ask_second, answer_second), *_ = (
    pictures
  )
  both = f"of <image 1> and <image 2>, {'really, ' * 20}which has a star?"
  rows = [
    (first, first, f"<image 1> {ask_first}", answer_first),
    (second, first, f"{ask_second} <image 1>", answer_second),
    (first, second, both, "the first"),
  ]
  return [
    {
      "id": f"validation_Art_{number}",
      "question": question,
      "options": "[]",
      "explanation": "",
      "image_1": image,
      "image_2": other,
      "answer": answer,
      "question_type": "open",
      "subfield": "",
    }
    for number, (image, other, question, answer) in enumerate(rows)
  ]


def _mmbench(pictures: Sequence[_Picture]) -> list[dict[str, Any]]:
  return [
    {
      "index": number,
      "question": question,
      "hint": "nan",
      "answer": "A",
      "A": answer,
      "B": "pink",
      "C": "nan",
      "D": "nan",
      "image": image,
      "category": "object_localization",
      "L2-category": "finegrained_perception (instance-level)",
      "source": "local",
      "comment": "nan",
      "split": "dev",
    }
    for number, (image, question, answer) in enumerate(pictures[:2])
  ]


def _mmvet(pictures: Sequence[_Picture]) -> list[dict[str, Any]]:
  return [
    {
      "question_id": f"v1_{number}",
      "image": image,
      "question": question,
      "answer": answer,
      "image_source": "local",
      "capability": "rec",
    }
    for number, (image, question, answer) in enumerate(pictures[:2])
  ]


def _save(path: pathlib.Path, rows: list[dict[str, Any]]) -> pathlib.Path:
  columns = {name: [row[name] for row in rows] for name in rows[0]}
  made = datasets.Dataset.from_dict(columns)
  for name in columns:
    if name.startswith("image") and name != "image_source":
      made = made.cast_column(name, datasets.Image())
  made.to_parquet(str(path))
  return path


if __name__ == "__main__":
  write(pathlib.Path(sys.argv[1]))
