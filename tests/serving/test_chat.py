"""/v1/chat/completions, asked by OpenAI's own client."""

import base64
import http.server
import io
import threading
from typing import Any

import openai
import pytest
from PIL import Image

from tests.serving import stand_in
from unialign_jax.use import texts as texts_lib


def _ask(server: stand_in.Running, messages: Any, **settings: Any) -> Any:
  return server.client().chat.completions.create(
    model=stand_in.NAME, messages=messages, **settings
  )


def test_an_answer(server: stand_in.Running):
  made = _ask(server, stand_in.shown(90, text="what shade?"))
  (choice,) = made.choices
  assert choice.message.content == "shade 90: what shade?"
  assert choice.message.role == "assistant"
  assert choice.finish_reason == "stop"
  assert made.object == "chat.completion" and made.model == stand_in.NAME
  usage = made.usage
  assert usage.prompt_tokens == 7 and usage.completion_tokens > 3
  assert usage.total_tokens == 7 + usage.completion_tokens
  assert made.unialign_notes == []


def test_a_caption_is_what_no_question_asks_for(server: stand_in.Running):
  made = _ask(server, stand_in.shown(90))
  assert made.choices[0].message.content == "shade 90: "


def test_settings_reach_the_model(server: stand_in.Running):
  _ask(
    server,
    stand_in.shown(9, text="what?"),
    temperature=0,
    seed=5,
    extra_body={"steps": 3, "schedule": "confidence"},
  )
  ((key, _),) = server.model.calls
  assert key.seed == 5
  assert key.settings.temperature == 0 and key.settings.steps == 3
  assert key.settings.schedule == "confidence"
  server.model.calls.clear()
  _ask(server, stand_in.shown(9, text="what?"))
  ((key, _),) = server.model.calls
  assert key.seed == 0 and key.settings == stand_in.POLICY.text


def test_earlier_turns_are_read(server: stand_in.Running):
  messages = [
    *stand_in.shown(9, text="how many?"),
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "and now?"},
  ]
  _ask(server, messages)
  ((_, (row,)),) = server.model.calls
  assert row.question == "how many? A: two Q: and now?"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens_cuts_and_says_so(
  server: stand_in.Running, name: str
):
  messages = stand_in.shown(90, text="what color?")
  whole = _ask(server, messages)
  most = whole.usage.completion_tokens
  assert _ask(server, messages, **{name: most}).choices == whole.choices
  cut = _ask(server, messages, **{name: most - 2})
  assert cut.choices[0].finish_reason == "length"
  assert cut.usage.completion_tokens == most - 2
  text = cut.choices[0].message.content
  assert text and whole.choices[0].message.content.startswith(text)


def test_a_text_stops_the_answer(server: stand_in.Running):
  messages = stand_in.shown(90, text="one two three")
  made = _ask(server, messages, stop=["three", "two"])
  assert made.choices[0].message.content == "shade 90: one"
  assert made.choices[0].finish_reason == "stop"


def test_a_stream_is_the_same_text(server: stand_in.Running):
  messages = stand_in.shown(90, text="what?")
  chunks = list(_ask(server, messages, stream=True, max_tokens=4))
  text = "".join(c.choices[0].delta.content or "" for c in chunks)
  whole = _ask(server, messages, max_tokens=4).choices[0]
  assert text == whole.message.content
  assert [c.choices[0].finish_reason for c in chunks] == [None, "length"]
  options = {"include_usage": True}
  chunks = list(_ask(server, messages, stream=True, stream_options=options))
  assert chunks[-1].usage.prompt_tokens == 7 and not chunks[-1].choices


def test_several_images(server: stand_in.Running):
  messages = stand_in.shown(0, 100, 200, text="what?")
  with pytest.raises(openai.BadRequestError) as caught:
    _ask(server, messages)
  assert caught.value.code == "too_many_images"
  assert not server.model.calls
  first = _ask(server, messages, extra_body={"several_images": "first"})
  assert first.choices[0].message.content == "shade 0: what?"
  assert "the first was shown" in first.unialign_notes[0]
  grid = _ask(server, messages, extra_body={"several_images": "grid"})
  assert "shown in a grid" in grid.unialign_notes[0]
  pixels = server.model.calls[-1][1][0].picture
  middles = [pixels[y, x, 0] for y in (8, 24) for x in (8, 24)]
  assert middles == [0, 100, 200, 255]


def test_a_question_that_is_too_long(server: stand_in.Running):
  words = " ".join(["red"] * 30)
  messages = stand_in.shown(9, text=f"{words} what color?")
  with pytest.raises(openai.BadRequestError) as caught:
    _ask(server, messages)
  assert caught.value.code == "context_length_exceeded"
  assert not server.model.calls
  made = _ask(server, messages, extra_body={"truncate": True})
  ((_, (row,)),) = server.model.calls
  assert row.question.endswith("red what color?")
  assert len(row.question) < 60
  assert "its beginning was cut off: 'red red" in made.unialign_notes[0]


def test_concurrent_questions_run_together(server: stand_in.Running):
  server.model.may_go_on.clear()
  with stand_in.threads(
    *(
      lambda shade=shade: _ask(server, stand_in.shown(shade, text="what?"))
      for shade in range(9)
    )
  ) as made:
    stand_in.wait_for(lambda: server.line.waiting + server.line.running == 9)
    server.model.may_go_on.set()
  texts = [one.choices[0].message.content for one in made]
  assert texts == [f"shade {shade}: what?" for shade in range(9)]
  assert len(server.model.calls) <= 3


@pytest.mark.parametrize(
  ("changed", "param", "code"),
  [
    ({"n": 2}, "n", "unsupported_parameter"),
    ({"top_p": 0.5}, "top_p", "unsupported_parameter"),
    ({"logprobs": True}, "logprobs", "unsupported_parameter"),
    ({"presence_penalty": 1}, "presence_penalty", "unsupported_parameter"),
    (
      {"response_format": {"type": "json_object"}},
      "response_format",
      "unsupported_parameter",
    ),
    ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
    ({"temprature": 1}, "temprature", "unknown_parameter"),
    ({"temperature": -1}, "temperature", "invalid_value"),
    ({"temperature": "hot"}, "temperature", "invalid_value"),
    ({"seed": -1}, "seed", "invalid_value"),
    ({"seed": 1.5}, "seed", "invalid_value"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"steps": 10**6}, "steps", "invalid_value"),
    ({"stop": ["a"] * 5}, "stop", "invalid_value"),
    ({"stream": "yes"}, "stream", "invalid_value"),
    ({"several_images": "all"}, "several_images", "invalid_value"),
    ({"messages": []}, "messages", "invalid_value"),
    (
      {"messages": [{"role": "user", "content": "hello"}]},
      "messages",
      "no_image",
    ),
    (
      {"messages": [{"role": "system", "content": "be kind"}]},
      "messages",
      "invalid_value",
    ),
    (
      {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]},
      "messages",
      "invalid_value",
    ),
    (
      {
        "messages": [
          *stand_in.shown(1, text="a"),
          {**stand_in.shown(2, text="b")[0], "role": "assistant"},
          {"role": "user", "content": "c"},
        ]
      },
      "messages",
      "invalid_value",
    ),
    (
      {
        "messages": [
          *stand_in.shown(1),
          {"role": "assistant", "content": "b"},
          {"role": "user", "content": "c"},
        ]
      },
      "messages",
      "invalid_value",
    ),
    (
      {
        "messages": [
          *stand_in.shown(1, text="a"),
          {"role": "assistant", "content": "b"},
        ]
      },
      "messages",
      "invalid_value",
    ),
    (
      {"messages": stand_in.shown(1, text="a <extra_id_0> b")},
      "messages",
      "invalid_value",
    ),
    (
      {"messages": stand_in.shown(1, text="a </s> b")},
      "messages",
      "invalid_value",
    ),
  ],
  ids=str,
)
def test_what_cannot_be_done_is_refused(
  server: stand_in.Running, changed: dict[str, Any], param: str, code: str
):
  request = {
    "model": stand_in.NAME,
    "messages": stand_in.shown(1, text="what?"),
    **changed,
  }
  with pytest.raises(openai.BadRequestError) as caught:
    server.client().post("/chat/completions", body=request, cast_to=object)
  error = caught.value
  assert (error.param, error.code) == (param, code), error
  assert error.type == "invalid_request_error"
  assert not server.model.calls


def test_what_changes_nothing_is_taken(server: stand_in.Running):
  _ask(
    server,
    stand_in.shown(1, text="what?"),
    n=1,
    top_p=1.0,
    frequency_penalty=0,
    user="me",
    response_format={"type": "text"},
    metadata={"a": "b"},
  )
  assert len(server.model.calls) == 1


@pytest.mark.parametrize(
  "url",
  [
    "http://127.0.0.1:{port}/a.png",
    "https://127.0.0.1:{port}/a.png",
    "file:///etc/hostname",
    "/etc/hostname",
    "data:text/plain;base64,aGVsbG8=",
    "data:image/png;base64,***",
    "data:image/png;base64,aGVsbG8=",
    stand_in.uri(stand_in.png(1)).replace(",", ",*"),
    "data:image/png,hello",
    "data:image/svg+xml;base64,PHN2Zy8+",
    None,
  ],
)
def test_only_pictures_that_are_sent_are_read(
  server: stand_in.Running, url: str | None
):
  asked = []

  class Canary(http.server.BaseHTTPRequestHandler):
    def handle(self) -> None:
      asked.append(self.client_address)

  with http.server.HTTPServer(("127.0.0.1", 0), Canary) as canary:
    thread = threading.Thread(
      target=canary.serve_forever, kwargs={"poll_interval": 0.01}
    )
    thread.start()
    full = url and url.format(port=canary.server_port)
    part = {"type": "image_url", "image_url": {"url": full}}
    try:
      with pytest.raises(openai.BadRequestError) as caught:
        _ask(server, [{"role": "user", "content": [part]}])
    finally:
      canary.shutdown()
      thread.join()
  assert caught.value.code == "invalid_image"
  assert not asked and not server.model.calls


def test_a_picture_of_too_many_pixels(server: stand_in.Running):
  part = {"image_url": {"url": stand_in.uri(stand_in.png(1, side=101))}}
  messages = [{"role": "user", "content": [{"type": "image_url", **part}]}]
  with pytest.raises(openai.BadRequestError, match="at most 10000") as caught:
    _ask(server, messages)
  assert caught.value.code == "invalid_image"


def test_the_request_of_vlmevalkit(server: stand_in.Running):
  """As its wrapper of endpoints makes it: JPEG, with a field of detail."""
  file = io.BytesIO()
  Image.new("L", (50, 40), 90).save(file, "JPEG")
  data = base64.b64encode(file.getvalue()).decode()
  image = {"url": f"data:image/jpeg;base64,{data}", "detail": "low"}
  content = [
    {"type": "text", "text": "look:"},
    {"type": "image_url", "image_url": image},
    {"type": "text", "text": "what?"},
  ]
  made = _ask(
    server,
    [{"role": "user", "content": content}],
    n=1,
    temperature=0,
    max_tokens=2048,
  )
  assert made.choices[0].message.content == "shade 90: look:\nwhat?"


def test_pixels_of_all_pictures_add_up(server: stand_in.Running):
  side = 60  # two have 7200 pixels, three 10800
  part = {
    "type": "image_url",
    "image_url": {"url": stand_in.uri(stand_in.png(1, side=side))},
  }
  grid = {"several_images": "grid"}
  for count, is_refused in ((2, False), (3, True)):
    messages = [{"role": "user", "content": [part] * count}]
    if is_refused:
      with pytest.raises(openai.BadRequestError, match="at most 2800"):
        _ask(server, messages, extra_body=grid)
    else:
      _ask(server, messages, extra_body=grid)
  with pytest.raises(openai.BadRequestError) as caught:
    _ask(server, stand_in.shown(*range(65)), extra_body=grid)
  assert caught.value.code == "too_many_images"


def test_another_model(server: stand_in.Running):
  with pytest.raises(openai.NotFoundError) as caught:
    server.client().chat.completions.create(
      model="gpt-4o", messages=stand_in.shown(1)
    )
  assert caught.value.code == "model_not_found"


def test_a_server_may_cut_and_show_grids_by_default(
  tokenizer: texts_lib.Texts,
):
  words = " ".join(["red"] * 30)
  with stand_in.running(
    tokenizer, truncate=True, several_images="grid"
  ) as server:
    made = _ask(server, stand_in.shown(1, 2, text=f"{words} what?"))
    assert len(made.unialign_notes) == 2
    with pytest.raises(openai.BadRequestError):
      _ask(
        server,
        stand_in.shown(1, text=f"{words} what?"),
        extra_body={"truncate": False},
      )
