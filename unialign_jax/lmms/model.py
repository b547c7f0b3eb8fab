"""The model of `lmms_eval --model unialign_jax`.

It reads one picture with one question, and question and answer share a fixed
number of tokens. What that changes about a task is counted in `Report`.

Log-likelihoods are refused: masked diffusion bounds the likelihood of a text
from below by an average over random masks. Numbers of that kind are noisy, and
not those that other models are compared by.
"""

import dataclasses
import logging
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm
from lmms_eval.api import instance as instance_lib
from lmms_eval.api import model as model_lib

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.lmms import messages
from unialign_jax.lmms import report as report_lib
from unialign_jax.use import endings
from unialign_jax.use import long_questions
from unialign_jax.use import pictures_in
from unialign_jax.use import settings as settings_lib
from unialign_jax.use import several

_log = logging.getLogger(__name__)
_LONG = ("cut", "refuse")
# Of `generation_kwargs`: what is heard, and values that ask for nothing else.
_HEARD = ("max_new_tokens", "until", "temperature", "do_sample")
_NOTHING = {"top_p": 1, "num_beams": 1, "n": 1, "top_k": 0}


class UniAlign(model_lib.lmms):
  """This model, for lmms-eval; arguments come from --model_args.

  Args:
    pretrained: as `Pipeline.load` takes it.
    batch_size: of --batch_size; questions that run at once.
    max_batch_size: of lmms-eval; nothing here.
    device: of lmms-eval; JAX has devices of its own.
    several_images: one of `several.POLICIES`.
    long_questions: "cut" off their beginning, or "refuse" them.
    answer_tokens: kept for an answer to a cut question; None for a quarter.
    seed: of the sampler.
    steps: of unmasking, as are schedule and temperature; each comes before
      what a task asks for.
    schedule: see there.
    temperature: see there.
    report: file for what became of the requests, as JSON; "" for none.
    framing: how pictures become squares.
    **load: other arguments of `Pipeline.load`.

  Raises:
    ValueError: a value out of range, or a device.
  """

  is_simple = False

  def __init__(
    self,
    pretrained: str,
    batch_size: int | str = 1,
    max_batch_size: int | None = None,
    device: str | None = None,
    *,
    several_images: str = "grid",
    long_questions: str = "cut",
    answer_tokens: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    schedule: str | None = None,
    temperature: float | None = None,
    report: str = "",
    framing: str = "crop",
    **load: Any,
  ):
    super().__init__()
    del max_batch_size
    if device is not None:
      raise ValueError(
        f"--device: got {device}, expected none; JAX takes the accelerator that"
        " is there, or what JAX_PLATFORMS says."
      )
    _one_of("several_images", several_images, several.POLICIES)
    _one_of("long_questions", long_questions, _LONG)
    self._pipe = pipeline_lib.Pipeline.load(
      pretrained, batch_size=int(batch_size), framing=framing, **load
    )
    given = {"steps": steps, "schedule": schedule, "temperature": temperature}
    self._given = {k: v for k, v in given.items() if v is not None}
    settings_lib.changed(self._pipe.text_settings, self._given)
    self._several = several_images
    self._may_cut = long_questions == "cut"
    self._room = answer_tokens
    self._seed = seed
    self._framing = framing
    self._report_path = report
    self._report = report_lib.Report(several_images)

  def generate_until(
    self, requests: Sequence[instance_lib.Instance]
  ) -> list[instance_lib.GenerationResult]:
    """Answers in the order of the requests; "" where none can be had.

    Raises:
      ValueError: all requests of a task are such.
    """
    answers: list[Any] = [None] * len(requests)
    groups: dict[settings_lib.TextSettings, list[int]] = {}
    for number, request in enumerate(requests):
      groups.setdefault(self._settings(request), []).append(number)
    size = self._pipe.batch_size
    with tqdm.tqdm(total=len(requests), desc="Model Responding") as bar:
      for settings, numbers in groups.items():
        for start in range(0, len(numbers), size):
          chunk = numbers[start : start + size]
          asked = [requests[number] for number in chunk]
          for number, answer in zip(chunk, self._answers(asked, settings)):
            answers[number] = answer
          bar.update(len(chunk))
    self._tell()
    return answers

  def loglikelihood(self, requests: Any) -> Any:
    """Refused; the module says why."""
    raise NotImplementedError(
      "loglikelihood: got a task that compares likelihoods, expected one that"
      " generates; a masked diffusion model has only a random bound on them."
    )

  def generate_until_multi_round(self, requests: Any) -> Any:
    """Refused: the pictures of later rounds could not be shown."""
    raise NotImplementedError(
      "generate_until_multi_round: expected a task of one round; this model"
      " reads one picture."
    )

  def _answers(
    self,
    requests: Sequence[instance_lib.Instance],
    settings: settings_lib.TextSettings,
  ) -> list[instance_lib.GenerationResult]:
    """Of one batch."""
    results = [instance_lib.GenerationResult(text="") for _ in requests]
    wanted, places = [], []
    for place, request in enumerate(requests):
      _, _, _, doc_id, task, _ = request.args
      told = self._report[task]
      told.num_requests += 1
      try:
        wanted.append(self._writing(request, told))
        places.append(place)
      except ValueError as error:
        told.unanswered[doc_id] = str(error)
    if not wanted:
      return results
    written = self._pipe.write_full(
      wanted, seed=self._seed, **dataclasses.asdict(settings)
    )
    for place, one in zip(places, written, strict=True):
      _, _, asked, doc_id, task, _ = requests[place].args
      end = endings.ended(
        self._pipe.texts,
        one,
        most=asked.get("max_new_tokens"),
        stops=_stops(asked),
      )
      if not end.is_complete:
        self._report[task].answer_cut.append(doc_id)
      counts = instance_lib.TokenCounts(
        input_tokens=one.num_given, output_tokens=end.num_tokens
      )
      results[place] = instance_lib.GenerationResult(end.text, counts)
    return results

  def _writing(
    self, request: instance_lib.Instance, told: Any
  ) -> pipeline_lib.Writing:
    """What the model is asked for a document.

    Raises:
      ValueError: it cannot be asked about that.
    """
    _, to_messages, asked, doc_id, task, split = request.args
    shown, question = messages.read(
      to_messages(self.task_dict[task][split][doc_id])
    )
    fitted = long_questions.fitted(
      self._pipe.texts,
      question,
      room=self._answer_room(asked) if self._may_cut else 1,
      may_cut=self._may_cut,
    )
    square = self._square(shown)
    if fitted.cut:
      told.question_cut.append(doc_id)
    if len(shown) > 1:
      told.several_images.append(doc_id)
    for name, value in asked.items():
      if name not in _HEARD and _NOTHING.get(name) != value:
        told.ignored.add(f"{name}={value}")
    return pipeline_lib.Writing(square, fitted.question)

  def _square(self, shown: Sequence[Any]) -> np.ndarray:
    return several.as_one(
      [pictures_in.pixels(one) for one in shown],
      self._several,
      side=self._pipe.image_settings.size,
      fit=self._framing,
    )

  def _answer_room(self, asked: Mapping[str, Any]) -> int:
    default = long_questions.default_room(self._pipe.texts.length)
    room = self._room or default
    return min(room, asked.get("max_new_tokens") or room)

  def _settings(
    self, request: instance_lib.Instance
  ) -> settings_lib.TextSettings:
    """The sampler's, for a task; what the user gave comes first."""
    asked = request.args[2]
    # A task that says nothing wants the likeliest, as with lmms-eval's own.
    temperature = asked.get("temperature", 0.0)
    if asked.get("do_sample") is False:
      temperature = 0.0
    wanted = {"temperature": temperature, **self._given}
    return settings_lib.changed(self._pipe.text_settings, wanted)

  def _tell(self) -> None:
    for line in self._report.lines():
      _log.warning(line)
    if self._report_path:
      self._report.write(self._report_path)
    if nothing := self._report.nothing_answered():
      raise ValueError(
        f"got no answer to any request of {'; '.join(nothing)}; expected tasks"
        " that show one picture and ask in words."
      )


def _stops(asked: Mapping[str, Any]) -> list[str]:
  until = asked.get("until") or []
  return [until] if isinstance(until, str) else [s for s in until if s]


def _one_of(name: str, got: str, known: Sequence[str]) -> None:
  if got not in known:
    raise ValueError(f"{name}: got {got!r}, expected one of {known}.")
