"""A tiny LLaVA with random weights, from a folder as the hub has them."""

import asyncio

import numpy as np
import pytest
from PIL import Image

from tests.features.captioning import fakes
from unialign_jax.vlm import asking
from unialign_jax.vlm import local

pytest.importorskip("torch")
tiny_llava = pytest.importorskip("tests.vlm.tiny_llava")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("llava")
  tiny_llava.write(path)
  return str(path)


def load(folder, **changes):
  decoding = asking.Decoding(max_tokens=6)
  options = dict(decoding=decoding, batch_size=4, device="cpu")
  return local.Local(folder, **(options | changes))


def request(seed, prompt="describe this picture"):
  pixels = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), np.uint8)
  return asking.Request(
    images=(Image.fromarray(pixels),), lossless=False, prompt=prompt
  )


def write(model, requests):
  return asyncio.run(model.write(requests))


def test_a_batch_gives_what_each_picture_gives_alone(folder):
  model = load(folder)
  requests = [request(0), request(1, "now"), request(2), request(3, "a b a b")]
  together = write(model, requests)
  assert together == [write(model, [r])[0] for r in requests]
  assert len({answer.text for answer in together}) > 1
  for answer in together:
    words = answer.text.split()
    assert set(words) <= set(tiny_llava.WORDS.split())
    assert len(words) <= 6  # without the words of the prompt


def test_an_answer_without_end_is_incomplete(folder):
  model = load(folder, decoding=asking.Decoding(max_tokens=1))
  ends = model._ends
  (answer,) = write(model, [request(0)])
  assert not answer.complete
  first = model._processor.tokenizer.convert_tokens_to_ids(answer.text)
  model._ends = ends | {first}
  assert write(model, [request(0)])[0].complete


def test_sampling_follows_the_seed(folder):
  def sampled(seed):
    decoding = asking.Decoding(temperature=5.0, max_tokens=12, seed=seed)
    return write(load(folder, decoding=decoding), [request(0)])

  assert sampled(1) == sampled(1)
  assert any(sampled(1) != sampled(seed) for seed in (2, 3))


def test_through_a_run(folder, tmp_path):
  out = tmp_path / "captions.jsonl"
  items = [fakes.raw(n * 60) for n in range(4)]
  counts = fakes.run(items, load(folder), out, concurrency=1)
  settled = fakes.captions(out).keys() | {key for key, _ in fakes.failures(out)}
  assert settled == {item.key for item in items}
  assert sum(counts.values()) >= 4


def test_a_folder_without_model(tmp_path):
  with pytest.raises(asking.Unusable, match=r"got the model .* expected a"):
    load(str(tmp_path))
