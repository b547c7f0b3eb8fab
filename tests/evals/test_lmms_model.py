"""What the plugin makes of documents, with lmms-eval's interface stood in for.

The stand-in is the base class and the records that the plugin touches, as
lmms-eval 0.7.3 has them; `test_lmms_plugin.py` runs lmms-eval itself.
"""

import dataclasses
import importlib
import json
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.features import encoders
from unialign_jax.lmms import messages
from unialign_jax.use import loading
from unialign_jax.use import requests
from unialign_jax.use import settings as settings_lib
from unialign_jax.use import texts as texts_lib

_SIDE = 32


class _Base:
  """`lmms_eval.api.model.lmms`: what is left once it is no torch."""

  def __init__(self):
    self.task_dict = {}


@dataclasses.dataclass
class _TokenCounts:
  input_tokens: int | None = None
  output_tokens: int | None = None


@dataclasses.dataclass
class _Result:
  text: str
  token_counts: _TokenCounts | None = None


@dataclasses.dataclass
class _Instance:
  args: tuple[Any, ...]


class _Pipe:
  """Answers with the question, and the shade of the picture."""

  image_settings = settings_lib.ImageSettings(
    size=_SIDE, steps=1, guidance=1.0, shift=1.0, solver="euler"
  )
  text_settings = settings_lib.TextSettings(
    steps=24, schedule="ancestral", temperature=0.3
  )
  batch_size = 2

  def __init__(self, texts: texts_lib.Texts):
    self.texts = texts
    self.calls: list[tuple[list[Any], dict[str, Any]]] = []

  def write_full(self, wanted: list[Any], **settings: Any) -> list[Any]:
    self.calls.append((wanted, settings))
    return [
      requests.Written(
        text=text,
        ids=tuple(self.texts._encoder.tokenizer(text)["input_ids"][:-1]),
        num_given=5,
        is_complete=True,
      )
      for text in (
        f"{one.question} {np.asarray(one.picture)[_SIDE // 2, 0, 0]}"
        for one in wanted
      )
    ]


@pytest.fixture(scope="module")
def texts() -> texts_lib.Texts:
  weights = loading.place(loading.SHIPPED)
  encoder = encoders.TextEncoder.load(
    f"{weights}/text_encoder_3", f"{weights}/tokenizer_3"
  )
  return texts_lib.Texts(encoder, 24, encode=None)


@pytest.fixture
def module(
  monkeypatch: pytest.MonkeyPatch, texts: texts_lib.Texts
) -> Iterator[Any]:
  """`unialign_jax.lmms.model`, on the stand-in and with a known pipeline."""
  names = {
    "lmms_eval": {},
    "lmms_eval.api": {},
    "lmms_eval.api.model": {"lmms": _Base},
    "lmms_eval.api.instance": {
      "Instance": _Instance,
      "GenerationResult": _Result,
      "TokenCounts": _TokenCounts,
    },
  }
  for name, values in names.items():
    made = types.ModuleType(name)
    vars(made).update(values)
    monkeypatch.setitem(sys.modules, name, made)
  for name in ("model", "instance"):
    made = sys.modules[f"lmms_eval.api.{name}"]
    setattr(sys.modules["lmms_eval.api"], name, made)
  monkeypatch.delitem(sys.modules, "unialign_jax.lmms.model", raising=False)
  monkeypatch.setattr(
    pipeline_lib.Pipeline, "load", lambda path, **settings: _Pipe(texts)
  )
  yield importlib.import_module("unialign_jax.lmms.model")
  sys.modules.pop("unialign_jax.lmms.model", None)


def _shown(*shades: int, text: str = "") -> list[dict[str, Any]]:
  content = [
    {"type": "image", "url": Image.new("RGB", (40, 20), (shade,) * 3)}
    for shade in shades
  ]
  return [
    {"role": "user", "content": [*content, {"type": "text", "text": text}]}
  ]


def _asked(
  model: Any, documents: list[Any], task: str = "task", **settings: Any
) -> list[_Instance]:
  """Requests whose documents are their messages."""
  model.task_dict[task] = {"test": documents}
  return [
    _Instance(("", lambda doc: doc, settings, number, task, "test"))
    for number in range(len(documents))
  ]


def test_answers_come_in_order_and_in_batches(module: Any):
  model = module.UniAlign("m", batch_size="2")
  warm = _asked(
    model, [_shown(k, text=f"q{k}") for k in range(3)], "w", temperature=0.7
  )
  cold = _asked(model, [_shown(9, text="c")], "c")
  mixed = [warm[0], cold[0], warm[1], warm[2]]
  got = model.generate_until(mixed)
  assert [one.text for one in got] == ["q0 0", "c 9", "q1 1", "q2 2"]
  assert got[0].token_counts.input_tokens == 5
  assert got[0].token_counts.output_tokens > 0
  sizes = [
    (len(rows), settings["temperature"]) for rows, settings in model._pipe.calls
  ]
  assert sizes == [(2, 0.7), (1, 0.7), (1, 0.0)]


@pytest.mark.parametrize(
  ("given", "asked", "temperature"),
  [
    ({}, {}, 0.0),
    ({}, {"temperature": 0.2}, 0.2),
    ({}, {"temperature": 0.2, "do_sample": False}, 0.0),
    ({"temperature": 0.5}, {"temperature": 0.2, "do_sample": False}, 0.5),
  ],
)
def test_who_says_the_temperature(
  module: Any,
  given: dict[str, Any],
  asked: dict[str, Any],
  temperature: float,
):
  model = module.UniAlign("m", **given)
  model.generate_until(_asked(model, [_shown(1, text="a")], **asked))
  ((_, settings),) = model._pipe.calls
  assert settings["temperature"] == temperature


def test_what_was_not_as_asked_is_told(
  module: Any, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
):
  path = tmp_path / "in" / "report.json"
  model = module.UniAlign("m", report=str(path), batch_size=8)
  documents = [
    _shown(1, text="what color?"),
    _shown(1, text=" ".join(["red"] * 40)),
    _shown(1, 2, text="a"),
    [{"role": "user", "content": [{"type": "text", "text": "no image"}]}],
    [{"role": "user", "content": [{"type": "video", "url": "v"}]}],
    [{"role": "system", "content": []}],
    _shown(1, text="a <extra_id_0>"),
  ]
  got = model.generate_until(
    _asked(model, documents, max_new_tokens=3, num_beams=5, top_p=1.0)
  )
  assert [bool(one.text) for one in got] == [True] * 3 + [False] * 4
  told = json.loads(path.read_text())
  assert told["policy"] == "grid"
  (task,) = told["tasks"].values()
  assert task["num_requests"] == 7
  assert task["question_cut"] == [1]
  assert task["several_images"] == [2]
  assert task["answer_cut"] == [0, 1]
  assert list(task["unanswered"]) == ["3", "4", "5", "6"]
  assert "no image" in task["unanswered"]["3"]
  assert "video" in task["unanswered"]["4"]
  assert task["ignored"] == ["num_beams=5"]
  assert "7 requests, 1 questions cut, 1 with several" in caplog.text


def test_long_questions_and_several_images_may_be_refused(module: Any):
  model = module.UniAlign("m", long_questions="refuse", several_images="refuse")
  documents = [
    _shown(1, text="a"),
    _shown(1, text=" ".join(["red"] * 40)),
    _shown(1, 2, text="a"),
  ]
  got = model.generate_until(_asked(model, documents))
  assert [one.text for one in got] == ["a 1", "", ""]
  assert set(model._report["task"].unanswered) == {1, 2}


def test_a_task_without_any_answer_is_an_error(module: Any):
  model = module.UniAlign("m")
  content = [{"type": "text", "text": "hello"}]
  with pytest.raises(ValueError, match="got no answer to any request of t"):
    model.generate_until(
      _asked(model, [[{"role": "user", "content": content}]], "t")
    )


def test_the_room_of_a_short_answer(module: Any):
  """Less is cut off a question where the task wants few tokens."""
  model = module.UniAlign("m", answer_tokens=10)
  long = [_shown(1, text=" ".join(["red"] * 40))]
  kept = []
  for settings in ({}, {"max_new_tokens": 2}, {"max_new_tokens": 99}):
    model.generate_until(_asked(model, long, **settings))
    kept.append(len(model._pipe.calls[-1][0][0].question.split()))
  assert kept[1] == kept[0] + 8 and kept[2] == kept[0]


def test_texts_that_end_an_answer(module: Any):
  model = module.UniAlign("m")
  for until in (["two", ""], "two"):
    got = model.generate_until(
      _asked(model, [_shown(1, text="one two")], until=until)
    )
    assert got[0].text == "one"


def test_what_is_refused_at_once(module: Any):
  for settings, message in (
    ({"device": "cuda"}, "JAX_PLATFORMS"),
    ({"several_images": "all"}, "several_images: got 'all'"),
    ({"long_questions": "some"}, "long_questions: got 'some'"),
    ({"schedule": "random"}, "schedule"),
  ):
    with pytest.raises(ValueError, match=message):
      module.UniAlign("m", **settings)
  model = module.UniAlign("m")
  for refused in (model.loglikelihood, model.generate_until_multi_round):
    with pytest.raises(NotImplementedError):
      refused([])


def test_messages_become_a_question():
  turns = [
    *_shown(1, text=" how many? "),
    {"role": "assistant", "content": [{"type": "text", "text": "two"}]},
    {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
  ]
  shown, question = messages.read(turns)
  assert len(shown) == 1
  assert question == "how many? A: two Q: and now?"
  content = [
    {"type": "text", "text": "of "},
    {"type": "image", "url": "a"},
    {"type": "text", "text": ""},
    {"type": "image", "url": "b"},
    {"type": "text", "text": " which?"},
  ]
  shown, question = messages.read([{"role": "user", "content": content}])
  assert shown == ["a", "b"] and question == "of\nwhich?"
  with pytest.raises(messages.Unanswerable, match="no question at the end"):
    messages.read(turns[:2])
