"""Pictures and texts of a random network: what must be equal is equal."""

import subprocess
import sys
import warnings
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import unialign_jax as ua
from unialign_jax import config as config_lib
from unialign_jax import pipeline
from unialign_jax import sharding
from unialign_jax.data.sources import paraphrases
from unialign_jax.diffusion import flow
from unialign_jax.features import encoders
from unialign_jax.features import null_prompt
from unialign_jax.models import mmdit
from unialign_jax.sampling import image as image_sampling
from unialign_jax.use import requests
from unialign_jax.use import texts


def _pixels(images: list[Image.Image]) -> np.ndarray:
  return np.stack([np.asarray(image) for image in images]).astype(int)


def _apart(first: list[Image.Image], second: list[Image.Image]) -> int:
  """Largest difference in levels of 255."""
  return np.abs(_pixels(first) - _pixels(second)).max()


def test_it_is_the_sampler(
  pipe: pipeline.Pipeline, model: tuple[config_lib.Config, Any]
):
  config, params = model
  text = encoders.TextEncoder.load(
    config.encoders.text, config.encoders.tokenizer
  )
  length = config.data.text_length
  latents_BHWC = image_sampling.sample_images(
    mmdit.MMDiT(config.model).apply,
    params,
    text.encode(text.tokenise(["a red circle"], length)),
    null_prompt.encode(text, length).features,
    image_sampling.noise(jax.random.key(6)[None], config.latent_shape),
    **config.sample.for_images(),
  )
  image = encoders.ImageEncoder.load(config.encoders.image)
  want = Image.fromarray(image.decode(np.asarray(latents_BHWC))[0])
  assert _apart(pipe.generate("a red circle", seed=6), [want]) <= 1


def test_on_gpus_the_layers_are_a_loop(
  monkeypatch: pytest.MonkeyPatch,
  pipe: pipeline.Pipeline,
  workdir: Any,
):
  """The pictures are the same. (In float32: attention asks for cuDNN else.)"""
  monkeypatch.setattr(sharding, "platform", lambda: "gpu")
  looped = pipeline.Pipeline.load(workdir)
  again = looped.generate("a red circle", seed=6)
  assert _apart(pipe.generate("a red circle", seed=6), again) <= 1


def test_a_seed_is_a_picture(pipe: pipeline.Pipeline):
  first = pipe.generate("a red circle", n=2, seed=3)
  assert first[0].size == (64, 64) and first[0].mode == "RGB"
  assert _apart(first, pipe.generate("a red circle", n=2, seed=3)) == 0
  assert _apart(first[1:], pipe.generate("a red circle", seed=4)) <= 1
  assert _apart(first[:1], first[1:]) > 8


def test_mixed_prompts_are_each_as_alone(pipe: pipeline.Pipeline):
  words = ["a red circle", "a blue square", "two green rings"]
  together = pipe.generate(words, n=2, seed=5)
  assert len(together) == 6
  for i, text in enumerate(words):
    alone = pipe.generate(text, n=2, seed=5)
    assert _apart(together[2 * i : 2 * i + 2], alone) <= 1
  assert _apart(together[:1], together[2:3]) > 2


def test_the_negative_prompt_and_the_settings_count(pipe: pipeline.Pipeline):
  plain = pipe.generate("a red circle")
  assert _apart(plain, pipe.generate("a red circle", negative=" ")) == 0
  assert _apart(plain, pipe.generate("a red circle", negative="blue")) > 0
  assert _apart(plain, pipe.generate("a red circle", guidance=5.0)) > 0
  assert pipe.generate("a red circle", size=32)[0].size == (32, 32)


def test_a_preset_is_its_settings(pipe: pipeline.Pipeline):
  fast = pipe.generate("a red circle", preset="fast")
  settings = {"solver": "dpmpp_2m", "steps": 8}
  assert _apart(fast, pipe.generate("a red circle", **settings)) == 0
  less = pipe.generate("a red circle", preset="fast", steps=3)
  assert _apart(less, fast) > 0


def test_a_picture_can_be_watched(pipe: pipeline.Pipeline, photo: Image.Image):
  wanted = pipeline.Drawing(text="make it blue", pictures=(photo,), seed=4)
  for solver in flow.SOLVERS:
    settings = {"steps": 5, "solver": solver}
    shown = list(pipe.watch(wanted, previews=3, **settings))
    assert [(one.step, one.steps) for one in shown] == [(2, 5), (4, 5), (5, 5)]
    final = [shown[-1].picture]
    assert _apart(final, pipe.draw([wanted], **settings)) <= 1
    assert _apart([shown[0].picture], final) > 0
  (once,) = pipe.watch(wanted, previews=1, steps=5)
  assert once.step == 5
  with pytest.raises(ValueError, match="previews: got 0"):
    next(pipe.watch(wanted, previews=0))


def test_each_shape_compiles_once(pipe: pipeline.Pipeline):
  pipe.generate("a red circle", steps=3)
  before = pipe.num_compiled
  pipe.generate(["a blue square", "a ring"], n=2, seed=8, steps=3)
  assert pipe.num_compiled == before
  pipe.generate("a red circle", steps=4)
  assert pipe.num_compiled == before + 1


def test_a_prompt_is_encoded_once(
  pipe: pipeline.Pipeline, monkeypatch: pytest.MonkeyPatch
):
  pipe.generate("a small red circle")
  monkeypatch.delattr(type(pipe._networks), "encode")
  pipe.generate(["a small red circle"] * 3, seed=1)
  with pytest.raises(AttributeError, match="encode"):
    pipe.generate("a small blue circle")


def test_condition_pictures_are_seen(
  pipe: pipeline.Pipeline, photo: Image.Image
):
  other = photo.rotate(180)
  edited = pipe.edit(photo, "make it blue")
  assert _apart(edited, pipe.edit(np.asarray(photo), "make it blue")) == 0
  assert _apart(edited, pipe.edit(other, "make it blue")) > 0
  both = pipe.edit([photo, other], "make it blue")
  assert _apart(both[:1], edited) <= 1
  order = [
    pipe.personalise(p, "both") for p in ([photo, other], [other, other])
  ]
  assert _apart(*order) > 0


def test_perception_words_its_request_as_training_did(
  pipe: pipeline.Pipeline, photo: Image.Image
):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", texts.TruncationWarning)
    got = pipe.perceive(photo, "depth", seed=7)
    same = pipe.edit(photo, paraphrases.pick("depth", "7"), seed=7)
  assert _apart(got, same) == 0
  own = pipe.perceive(photo, "depth", instruction="depth", seed=7)
  assert _apart(own, pipe.edit(photo, "depth", seed=7)) == 0
  with pytest.raises(ValueError, match="'smell', expected one of"):
    pipe.perceive(photo, "smell")


def test_texts_of_a_batch_are_each_as_alone(
  pipe: pipeline.Pipeline, photo: Image.Image
):
  shown, greedy = (
    [photo, photo.rotate(180)],
    {
      "temperature": 0.0,
      "schedule": "confidence",
    },
  )
  together = pipe.caption(shown, **greedy)
  assert together == [pipe.caption(image, **greedy) for image in shown]
  asked = pipe.answer(photo, ["what color?", ""], **greedy)
  assert asked == [pipe.answer(photo, "what color?", **greedy), together[0]]
  first = pipe.caption(photo, seed=1)
  assert first == pipe.caption(photo, seed=1) != pipe.caption(photo, seed=2)


def test_earlier_turns_stand_before_the_question():
  text = requests.with_turns("and now?", [("how many?", "two"), ("why?", "so")])
  assert text == "how many? A: two Q: why? A: so Q: and now?"
  assert requests.with_turns("and now?", ()) == "and now?"


def test_what_is_cut_is_said(pipe: pipeline.Pipeline):
  long = "a red circle, " * 8 + "a blue square"
  with pytest.warns(texts.TruncationWarning, match="blue square"):
    pipe.generate(long)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    pipe.generate("a red circle")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"stpes": 3}, "did you mean steps"),
    ({"steps": 0}, "steps"),
    ({"solver": "magic"}, "solver: got 'magic'"),
    ({"preset": "slow"}, "preset: got 'slow', expected one of"),
    ({"size": 60}, "multiples of 16"),
    ({"prompt": "a <extra_id_0>"}, "expected clean text"),
  ],
)
def test_what_cannot_be_is_one_message(
  pipe: pipeline.Pipeline, arguments: dict, message: str
):
  with pytest.raises(ValueError, match=message):
    pipe.generate(**({"prompt": "a circle"} | arguments))


def test_unequal_lists_are_refused(pipe: pipeline.Pipeline, photo: Image.Image):
  with pytest.raises(ValueError, match="3 of text and 2 of image"):
    pipe.edit([photo, photo], ["a", "b", "c"])
  wanted = [requests.Drawing(text="a", pictures=p) for p in ((), (photo,))]
  with pytest.raises(ValueError, match="equally many"):
    pipe.draw(wanted)


def test_a_mesh_changes_nothing(
  workdir, pipe: pipeline.Pipeline, monkeypatch: pytest.MonkeyPatch
):
  want = pipe.generate(["a red circle", "a ring"], n=3)
  shares, real = set(), sharding.sequence_shares
  monkeypatch.setattr(
    sharding, "sequence_shares", lambda: shares.add(real()) or real()
  )
  mesh = sharding.make_mesh(1, 2, 2, 2)
  sharded = ua.Pipeline.load(workdir, mesh=mesh)
  assert _apart(sharded.generate(["a red circle", "a ring"], n=3), want) <= 1
  assert sharded.batch_size == 8
  assert shares == {2}  # what cannot be partitioned has seen the mesh


def test_bfloat16_is_close(workdir, pipe: pipeline.Pipeline):
  half = ua.Pipeline.load(workdir, dtype="bfloat16")
  apart = np.abs(
    _pixels(half.generate("a ring", n=4))
    - _pixels(pipe.generate("a ring", n=4))
  )
  assert 0 < apart.mean() < 4


def test_the_network_alone(workdir, model):
  network, params = ua.load(workdir)
  assert network.config == model[0].model
  assert isinstance(network, ua.MMDiT)
  assert set(params) == set(model[1])


def test_importing_the_package_costs_nothing():
  code = "import sys, unialign_jax; assert 'jax' not in sys.modules"
  subprocess.run([sys.executable, "-c", code], check=True)
  with pytest.raises(AttributeError, match="Pipelin"):
    _ = ua.Pipelin
