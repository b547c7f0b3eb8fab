"""/v1/images/generations and /v1/images/edits, by OpenAI's own client."""

import base64
import io
import pathlib
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from tests.serving import stand_in
from unialign_jax.use import outputs
from unialign_jax.use import texts as texts_lib


def _generate(server: stand_in.Running, **settings: Any) -> Any:
  return server.client().images.generate(
    **{"model": stand_in.NAME, "prompt": "a red ring", **settings}
  )


def _edit(server: stand_in.Running, images: Any, **settings: Any) -> Any:
  return server.client().images.edit(
    image=images,
    **{"model": stand_in.NAME, "prompt": "make it red", **settings},
  )


def _png(shade: int, side: int = stand_in.SIDE) -> tuple[str, bytes, str]:
  return ("/etc/passwd", stand_in.png(shade, side), "image/png")


def test_pictures_with_what_made_them(
  server: stand_in.Running, tmp_path: pathlib.Path
):
  made = _generate(server, n=3, extra_body={"seed": 5, "negative_prompt": "x"})
  assert made.size == "32x32" and made.output_format == "png"
  assert made.unialign_notes == []
  for k, one in enumerate(made.data):
    assert one.seed == 5 + k
    data = base64.b64decode(one.b64_json)
    image = Image.open(io.BytesIO(data))
    assert image.size == (32, 32) and np.asarray(image)[0, 0, 0] == 5 + k
    path = tmp_path / "a.png"
    path.write_bytes(data)
    made_by = outputs.read_png(path)
    assert made_by["task"] == "generate" and made_by["text"] == "a red ring"
    assert made_by["seed"] == 5 + k and made_by["negative"] == "x"
    assert made_by["model"] == stand_in.NAME and made_by["steps"] == 4
  rows = [row for _, rows in server.model.calls for row in rows]
  assert [row.seed for row in rows] == [5, 6, 7]
  assert {row.negative for row in rows} == {"x"}


def test_no_seed_is_a_new_one_each_time(server: stand_in.Running):
  seeds = {_generate(server).data[0].seed for _ in range(3)}
  assert len(seeds) == 3


def test_settings_reach_the_model(server: stand_in.Running):
  wanted = {"steps": 7, "guidance": 3.5, "solver": "heun", "shift": 2}
  made = _generate(server, size="64x64", extra_body=wanted)
  assert made.size == "64x64"
  ((key, _),) = server.model.calls
  assert key.num_pictures == 0 and key.settings.size == 64
  for name, value in wanted.items():
    assert getattr(key.settings, name) == value
  server.model.calls.clear()
  _generate(server, size="auto", extra_body={"preset": "fast"})
  ((key, _),) = server.model.calls
  assert key.settings.size == 32
  assert (key.settings.solver, key.settings.steps) == ("dpmpp_2m", 8)


def test_an_edit(server: stand_in.Running):
  made = _edit(server, _png(80, side=48), n=2, extra_body={"seed": 9})
  assert [one.seed for one in made.data] == [9, 10]
  ((key, rows),) = server.model.calls
  assert key.num_pictures == 1 and key.settings.size == 32
  assert rows[0].text == "make it red"
  (shown,) = rows[0].pictures
  assert shown.shape == (32, 32, 3) and (shown == 80).all()


def test_several_pictures_are_subjects(server: stand_in.Running):
  made = _edit(
    server, [_png(10), _png(20)], extra_body={"guidance": 3, "stream": False}
  )
  ((key, (row,)),) = server.model.calls
  assert key.num_pictures == 2 and key.settings.guidance == 3
  assert [shown[0, 0, 0] for shown in row.pictures] == [10, 20]
  assert len(made.data) == 1


@pytest.mark.parametrize(
  ("changed", "param", "code"),
  [
    ({"prompt": " "}, "prompt", "invalid_value"),
    ({"prompt": None}, "prompt", "invalid_value"),
    ({"prompt": "a <extra_id_0>"}, "prompt", "invalid_value"),
    ({"prompt": "red " * 40}, "prompt", "context_length_exceeded"),
    (
      {"negative_prompt": "red " * 40},
      "negative_prompt",
      "context_length_exceeded",
    ),
    ({"n": 5}, "n", "invalid_value"),
    ({"n": 0}, "n", "invalid_value"),
    ({"n": True}, "n", "invalid_value"),
    ({"size": "32x64"}, "size", "invalid_value"),
    ({"size": "80x80"}, "size", "invalid_value"),
    ({"size": "40x40"}, "size", "invalid_value"),
    ({"size": "0x0"}, "size", "invalid_value"),
    ({"size": 32}, "size", "invalid_value"),
    ({"steps": 11}, "steps", "invalid_value"),
    ({"guidance": -1}, "guidance", "invalid_value"),
    ({"seed": 2**32}, "seed", "invalid_value"),
    ({"seed": 2**32 - 1, "n": 2}, "seed", "invalid_value"),
    ({"solver": "magic"}, "solver", "invalid_value"),
    ({"response_format": "url"}, "response_format", "unsupported_parameter"),
    ({"output_format": "jpeg"}, "output_format", "unsupported_parameter"),
    ({"style": "vivid"}, "style", "unsupported_parameter"),
    ({"quality": "hd"}, "quality", "unsupported_parameter"),
    ({"background": "transparent"}, "background", "unsupported_parameter"),
    ({"stream": True}, "stream", "unsupported_parameter"),
    ({"guidence": 3}, "guidence", "unknown_parameter"),
    ({"model": 3}, "model", "invalid_value"),
  ],
  ids=str,
)
def test_what_cannot_be_done_is_refused(
  server: stand_in.Running, changed: dict[str, Any], param: str, code: str
):
  request = {"model": stand_in.NAME, "prompt": "a ring", **changed}
  with pytest.raises(openai.BadRequestError) as caught:
    server.client().post("/images/generations", body=request, cast_to=object)
  assert (caught.value.param, caught.value.code) == (param, code), caught.value
  assert not server.model.calls


def test_a_long_prompt_may_be_cut(server: stand_in.Running):
  made = _generate(server, prompt="red " * 40, extra_body={"truncate": True})
  assert "the model reads 24; cut: 'red red" in made.unialign_notes[0]


@pytest.mark.parametrize(
  ("images", "settings", "param", "code"),
  [
    ([_png(1)] * 5, {}, "image", "invalid_value"),
    (_png(1), {"mask": _png(1)}, "mask", "unsupported_parameter"),
    (_png(1, side=101), {}, "image", "invalid_image"),
    (("a.png", b"nothing", "image/png"), {}, "image", "invalid_image"),
    (_png(1), {"n": 5}, "n", "invalid_value"),
    (_png(1), {"size": "1024x1024"}, "size", "invalid_value"),
    (_png(1), {"input_fidelity": "high"}, "input_fidelity", None),
    (_png(1), {"extra_body": {"steps": "many"}}, "steps", "invalid_value"),
  ],
)
def test_edits_that_cannot_be_done(
  server: stand_in.Running,
  images: Any,
  settings: dict[str, Any],
  param: str,
  code: str | None,
):
  with pytest.raises(openai.BadRequestError) as caught:
    _edit(server, images, **settings)
  assert caught.value.param == param
  assert caught.value.code == (code or "unsupported_parameter")
  assert not server.model.calls


def test_a_form_without_files_or_with_a_name_of_one(server: stand_in.Running):
  for values, files in (
    ({"prompt": "a"}, {"other": ("a.png", stand_in.png(1))}),
    ({"prompt": "a", "image": "/etc/hostname"}, {"image": _png(1)}),
    ({"prompt": "a", "mask": "x"}, {"image": _png(1)}),
  ):
    with pytest.raises(openai.BadRequestError) as caught:
      server.client().post(
        "/images/edits",
        body=values,
        files=files,
        options={"headers": {"content-type": "multipart/form-data"}},
        cast_to=object,
      )
    assert caught.value.param in ("other", "image", "mask")
  assert not server.model.calls


def test_pictures_of_one_kind_run_together(server: stand_in.Running):
  """Prompts, seeds and negative prompts may differ."""
  server.model.may_go_on.clear()
  with stand_in.threads(
    *(
      lambda k=k: _generate(
        server, prompt=f"ring {k}", n=2, extra_body={"seed": k}
      )
      for k in range(4)
    )
  ) as results:
    stand_in.wait_for(lambda: server.line.waiting + server.line.running == 8)
    server.model.may_go_on.set()
  assert [r.data[1].seed for r in results] == [1, 2, 3, 4]
  assert len(server.model.calls) <= 3


def test_settings_and_numbers_of_pictures_stay_apart(
  tokenizer: texts_lib.Texts,
):
  with stand_in.running(tokenizer, line={"window": 0.3}) as server:
    with stand_in.threads(
      lambda: _generate(server),
      lambda: _generate(server, extra_body={"steps": 2}),
      lambda: _edit(server, _png(1)),
      lambda: _edit(server, [_png(1), _png(2)]),
    ):
      pass
    keys = {key for key, _ in server.model.calls}
    assert len(server.model.calls) == len(keys) == 4
