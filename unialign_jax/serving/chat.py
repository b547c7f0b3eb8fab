"""/v1/chat/completions: captions and answers about one picture."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from unialign_jax import pipeline as pipeline_lib
from unialign_jax.sampling import text as text_sampling
from unialign_jax.serving import completion
from unialign_jax.serving import conversation
from unialign_jax.serving import engine as engine_lib
from unialign_jax.serving import errors
from unialign_jax.serving import fields as fields_lib
from unialign_jax.serving import media
from unialign_jax.serving import policy as policy_lib
from unialign_jax.use import endings
from unialign_jax.use import long_questions
from unialign_jax.use import requests
from unialign_jax.use import settings as settings_lib
from unialign_jax.use import several
from unialign_jax.use import texts as texts_lib

_MAX_SEED = 2**32 - 1
_MAX_STEPS = 1024
_MAX_STOPS = 4
_NEUTRAL = {
  "n": (1,),
  "top_p": (1,),
  "presence_penalty": (0,),
  "frequency_penalty": (0,),
  "logprobs": (False,),
  "top_logprobs": (0,),
  "logit_bias": ({},),
  "tools": ([],),
  "tool_choice": ("none", "auto"),
  "functions": ([],),
  "function_call": ("none", "auto"),
  "modalities": (["text"],),
  "response_format": ({"type": "text"},),
  "audio": (),
  "prediction": (),
  "reasoning_effort": ("none",),
  "verbosity": ("medium",),
  "web_search_options": (),
}
_IGNORED = (
  *("user", "metadata", "store", "service_tier", "parallel_tool_calls"),
  *("safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
  """A conversation about pictures, as it came.

  Attributes:
    urls: of the pictures, in order.
    question: with earlier turns in it; "" for a caption.
    settings: of the sampler.
    seed: of the sampler.
    most: tokens of the answer; None for as many as there is room for.
    stops: texts that end the answer.
    several_images: one of `several.POLICIES`.
    is_stream: whether the reply is a stream of events.
    has_usage: whether the stream ends with the numbers of tokens.
    notes: what became of the request, for the reply.
  """

  urls: Sequence[Any]
  question: str
  settings: settings_lib.TextSettings
  seed: int
  most: int | None
  stops: tuple[str, ...]
  several_images: str
  is_stream: bool
  has_usage: bool
  notes: tuple[str, ...]

  @property
  def key(self) -> engine_lib.Write:
    return engine_lib.Write(self.settings, self.seed)


def read(
  values: Mapping[str, Any],
  policy: policy_lib.Policy,
  texts: texts_lib.Texts,
) -> Asked:
  """A request of the protocol.

  Raises:
    errors.ApiError: it is none, or asks for what this model cannot do.
  """
  given = fields_lib.Fields(values)
  check_model(given.text("model"), policy.name)
  for name, allowed in _NEUTRAL.items():
    given.only(name, *allowed)
  given.ignore(*_IGNORED)
  urls, question = conversation.read(given.take("messages"))
  most = _most(given)
  may_cut = given.flag("truncate", policy.truncate)
  room = min(most or policy.answer_tokens, policy.answer_tokens)
  fitted = _fitted(texts, question, room if may_cut else 1, may_cut)
  notes = []
  if fitted.cut:
    notes.append(
      f"the question was too long; its beginning was cut off: {fitted.cut!r}"
    )
  is_stream = given.flag("stream")
  options = given.take("stream_options", {})
  choice = given.choice("several_images", several.POLICIES)
  chosen = choice or policy.several_images
  try:
    several.check(len(urls), chosen)
  except several.TooMany as error:
    raise _too_many(error) from None
  if len(urls) > 1:
    how = "the first was shown" if chosen == "first" else "shown in a grid"
    notes.append(f"of {len(urls)} images the network reads one: {how}")
  asked = Asked(
    urls=urls,
    question=fitted.question,
    settings=_settings(given, policy.text),
    seed=given.whole("seed", 0, 0, _MAX_SEED),
    most=most,
    stops=_stops(given.take("stop")),
    several_images=chosen,
    is_stream=is_stream,
    has_usage=isinstance(options, dict) and bool(options.get("include_usage")),
    notes=tuple(notes),
  )
  given.done()
  return asked


def check_model(name: str, served: str) -> None:
  """Refuses the name of another model.

  Raises:
    errors.ApiError: 404.
  """
  if name != served:
    raise errors.ApiError(
      404,
      f"model: got {name[:100]!r}, expected {served!r}, the one that is served"
      " here.",
      param="model",
      code="model_not_found",
    )


def picture(asked: Asked, policy: policy_lib.Policy) -> np.ndarray:
  """The one picture that the network reads, uint8 [S, S, 3]; slow.

  Raises:
    errors.ApiError: a broken one, or too many for a grid or in pixels.
  """
  urls = asked.urls[:1] if asked.several_images == "first" else asked.urls
  shown, left = [], policy.max_pixels  # of all, as all are in memory
  for url in urls:
    shown.append(media.from_url(url, left))
    left -= shown[-1].shape[0] * shown[-1].shape[1]
  try:
    return several.as_one(
      shown, asked.several_images, side=policy.read_side, fit=policy.framing
    )
  except several.TooMany as error:
    raise _too_many(error) from None


def writing(asked: Asked, shown: np.ndarray) -> pipeline_lib.Writing:
  """What the model is asked for."""
  return pipeline_lib.Writing(shown, asked.question)


def reply(
  asked: Asked,
  written: requests.Written,
  policy: policy_lib.Policy,
  texts: texts_lib.Texts,
) -> dict[str, Any]:
  """What a client gets, where it wants no stream."""
  return completion.whole(
    endings.ended(texts, written, most=asked.most, stops=asked.stops),
    model=policy.name,
    num_given=written.num_given,
    notes=asked.notes,
  )


def _too_many(error: several.TooMany) -> errors.ApiError:
  return errors.bad(
    f"{error} The field several_images says which: first or grid.",
    param="messages",
    code="too_many_images",
  )


def _fitted(
  texts: texts_lib.Texts, question: str, room: int, may_cut: bool
) -> long_questions.Fitted:
  try:
    return long_questions.fitted(texts, question, room=room, may_cut=may_cut)
  except long_questions.TooLong as error:
    raise errors.bad(
      f"{error} The field truncate has it cut off.",
      param="messages",
      code="context_length_exceeded",
    ) from None
  except ValueError as error:
    raise errors.bad(str(error), param="messages") from None


def _most(given: fields_lib.Fields) -> int | None:
  """The limit of tokens, by its newer name or its older one."""
  newer = given.whole("max_completion_tokens", None, 1, 2**31)
  older = given.whole("max_tokens", None, 1, 2**31)
  return older if newer is None else newer


def _settings(
  given: fields_lib.Fields, defaults: settings_lib.TextSettings
) -> settings_lib.TextSettings:
  return settings_lib.changed(
    defaults,
    {
      "temperature": given.number("temperature", 0, 2),
      "steps": given.whole("steps", None, 1, _MAX_STEPS),
      "schedule": given.choice("schedule", text_sampling.SCHEDULES),
    },
  )


def _stops(value: Any) -> tuple[str, ...]:
  stops = [value] if isinstance(value, str) else value or []
  is_list = isinstance(stops, list) and len(stops) <= _MAX_STOPS
  if not is_list or not all(isinstance(s, str) and s for s in stops):
    raise errors.bad(
      f"stop: expected a text, or a list of up to {_MAX_STOPS}.", param="stop"
    )
  return tuple(stops)
