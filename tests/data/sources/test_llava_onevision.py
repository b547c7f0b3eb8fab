"""LLaVA-OneVision's parquet: a folder a config, a sample a question."""

import os
import pickle

import pyarrow as pa
import pytest

from tests.data.sources import hf
from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import llava_onevision
from unialign_jax.data.sources import registry

_TURN = pa.struct([("from", hf.STRING), ("value", hf.STRING)])
_COLUMNS = {
  "id": hf.STRING,
  "image": hf.IMAGE,
  "conversations": pa.list_(_TURN),
  "data_source": hf.STRING,
}
_DIAGRAMS = "ai2d(cauldron,llava_format)"
_TEXTS = "magpie_pro(l3_80b_mt)"
_MATHS = "CLEVR-Math(MathV360K)"


def _turns(*texts):
  """Questions and answers in turn."""
  roles = ("human", "gpt")
  return [{"from": roles[i % 2], "value": text} for i, text in enumerate(texts)]


def _row(number, *texts, form="JPEG", **fields):
  return {
    "id": str(number),
    "image": hf.image(written.picture(number, form)),
    "conversations": _turns(*texts),
    "data_source": "not used",
  } | fields


def _write(root, config, rows, number=0, columns=_COLUMNS):
  name = f"train-{number:05d}-of-00002.parquet"
  hf.write(root / config / name, columns, rows)


@pytest.fixture
def root(tmp_path):
  """Three configs, two of them with files of the same name."""
  first = "<image>\nWhat is it?\nA. one"
  _write(
    tmp_path,
    _DIAGRAMS,
    [
      _row(1, first, "A cat.\n", "And there?", "A dog.", "Where?", "Here."),
      _row(2, "Which one?\n<image>", "This.", form="PNG"),
      _row(3, first, "It is <image> a bird.", form="WEBP"),
    ],
  )
  _write(tmp_path, _DIAGRAMS, [_row(4, first, "Four.")], number=1)
  _write(tmp_path, _MATHS, [_row(5, first, "Five."), _row(6, first, "Six.")])
  _write(
    tmp_path,
    _TEXTS,
    [
      _row(7, "Hello", "Hi", "How?", "So.", image=None),
      _row(8, "Hello", "Hi", image=hf.image(None)),
    ],
  )
  return tmp_path


def test_a_question_with_its_answer_is_a_sample(root):
  source = llava_onevision.open_source(root, configs=_DIAGRAMS)
  assert source[1] == base.Raw(
    key=f"{_DIAGRAMS}/train-00000-of-00002/0/1",
    task="understanding",
    source=f"llava_onevision/{_DIAGRAMS}",
    license="apache-2.0",
    caption_source="dataset",
    target=base.Picture(written.picture(1)),
    instruction="And there?",
    caption="A dog.",
    question="And there?",
  )


def test_rows_give_as_many_samples_as_they_have_questions(root):
  source = llava_onevision.open_source(root, configs=_DIAGRAMS)
  assert [(item.question, item.caption) for item in source] == [
    ("What is it?\nA. one", "A cat."),
    ("And there?", "A dog."),
    ("Where?", "Here."),
    ("Which one?", "This."),
    ("What is it?\nA. one", "It is  a bird."),
    ("What is it?\nA. one", "Four."),
  ]
  assert [item.target.data for item in source] == [
    *[written.picture(1, "JPEG")] * 3,
    written.picture(2, "PNG"),
    written.picture(3, "WEBP"),
    written.picture(4, "JPEG"),
  ]


def test_keys_are_unique_and_do_not_depend_on_what_is_opened(root):
  items = list(llava_onevision.open_source(root))
  keys = [item.key for item in items]
  assert len(set(keys)) == len(keys) == 11
  for config in (_DIAGRAMS, _TEXTS, _MATHS):
    alone = list(llava_onevision.open_source(root, configs=(config,)))
    name = f"llava_onevision/{config}"
    assert alone == [item for item in items if item.source == name]
    assert all(item.key.startswith(f"{config}/train-0") for item in alone)
    # The folder of one config may be the root as well.
    assert list(llava_onevision.open_source(root / config)) == alone


def test_the_working_folder_has_a_name_too(root, monkeypatch):
  expected = list(llava_onevision.open_source(root / _MATHS))
  monkeypatch.chdir(root / _MATHS)
  assert list(llava_onevision.open_source(os.curdir)) == expected


def test_configs_are_chosen_by_name_commas_or_not(root):
  source = registry.open_source(
    "llava_onevision", root, configs=f"{_MATHS},{_DIAGRAMS}"
  )
  assert {item.source for item in source} == {
    f"llava_onevision/{_MATHS}",
    f"llava_onevision/{_DIAGRAMS}",
  }
  with pytest.raises(base.SourceError, match=r"configs: got \['ai2d'\]"):
    llava_onevision.open_source(root, configs="ai2d")


def test_text_alone_is_rejected_and_every_question_of_it_counted(root):
  source = llava_onevision.open_source(root, configs=_TEXTS)
  assert [item.reason for item in source] == ["null image"] * 3
  assert [item.key[-3:] for item in source] == ["0/0", "0/1", "1/0"]


@pytest.mark.parametrize(
  ("turns", "reasons"),
  [
    (_turns("<image>\n", "Yes."), ["empty instruction"]),
    (_turns(None, "Yes."), ["empty instruction"]),
    (_turns("Is it?", " \n"), ["empty caption"]),
    (_turns("Is it?", None, "So?"), ["empty caption", "broken conversation"]),
    (_turns("Is it?"), ["broken conversation"]),
    (_turns("Is it?", "Yes.")[::-1], ["broken conversation"]),
    (
      [{"from": "system", "value": "Be kind."}, *_turns("Is it?", "Yes.")],
      ["broken conversation"] * 2,
    ),
    ([], ["broken conversation"]),
    (None, ["broken conversation"]),
  ],
)
def test_bad_turns_are_rejected_with_the_reason(tmp_path, turns, reasons):
  _write(tmp_path, _MATHS, [_row(0, conversations=turns)])
  source = llava_onevision.open_source(tmp_path)
  assert [item.reason for item in source] == reasons


def test_a_broken_turn_names_what_was_there(tmp_path):
  _write(tmp_path, _MATHS, [_row(0, "One?", "1.", "Two?")])
  good, bad = llava_onevision.open_source(tmp_path)
  assert good.caption == "1."
  assert bad.detail == "turn 1: got ['human'], expected ['human', 'gpt']"


def test_long_questions_are_rejected_when_asked(tmp_path):
  _write(tmp_path, _MATHS, [_row(0, "<image>\none two three", "Yes.")])
  assert llava_onevision.open_source(tmp_path)[0].caption == "Yes."
  kept = llava_onevision.open_source(tmp_path, max_question_words=3)
  assert kept[0].caption == "Yes."
  cut = llava_onevision.open_source(tmp_path, max_question_words=2)
  assert cut[0].reason == "filtered: max_question_words"
  assert cut[0].detail == "got 3, expected at most 2"


@pytest.mark.parametrize("name", ["image", "conversations"])
def test_missing_columns_are_named(tmp_path, name):
  columns = {k: v for k, v in _COLUMNS.items() if k != name}
  _write(tmp_path, _MATHS, [_row(0, "Is it?", "Yes.")], columns=columns)
  with pytest.raises(base.SourceError, match=rf"expected \['{name}'\]"):
    llava_onevision.open_source(tmp_path)


def test_folders_without_parquet_are_refused(tmp_path):
  written.json_list(tmp_path / "ureader_qa" / "ureader_qa.json", [])
  with pytest.raises(base.SourceError, match="expected parquet files"):
    llava_onevision.open_source(tmp_path)


def test_a_copy_in_another_process_gives_the_same(root):
  source = llava_onevision.open_source(root, max_question_words=4)
  first = source[0]
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == first
  assert list(copy) == list(source)
