"""The verifier on ground truth: clean, blurred and noisy."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from unialign_jax.shapes import agreement
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes
from unialign_jax.shapes import verifier


def agreements(number, seed, spoil=lambda image: image):
  rng = np.random.default_rng(seed)
  found = []
  for _ in range(number):
    scene = scenes.sample_scene(rng)
    reading = verifier.read(spoil(render.render(scene)))
    verdict = agreement.agreement(reading, scene)
    found.append(dataclasses.asdict(verdict))
  return {
    name: np.mean([verdict[name] for verdict in found]) for name in found[0]
  }


def test_ground_truth_is_read_right():
  shares = agreements(250, seed=11)
  assert min(shares.values()) >= 0.995, shares


def test_blur_and_noise_are_borne():
  rng = np.random.default_rng(0)

  def spoil(image):
    soft = ndimage.gaussian_filter(image.astype(np.float32), (0.7, 0.7, 0))
    noisy = soft + rng.normal(0, 0.02 * 255, soft.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)

  shares = agreements(120, seed=12, spoil=spoil)
  for name in ("count", "shape", "color", "size", "position"):
    assert shares[name] >= 0.98, shares


def test_disagreement_is_noticed():
  item = scenes.Object("circle", "red", "small", 12, 12)
  other = scenes.Object("star", "blue", "large", 46, 46)
  scene = scenes.Scene((item, other))
  reading = verifier.read(render.render(scene))

  def verdict(**changes):
    changed = dataclasses.replace(item, **changes)
    objects = scenes.arrange((changed, other))
    return agreement.agreement(reading, scenes.Scene(objects))

  assert verdict().everything()
  assert not verdict(shape="ring").shape
  assert not verdict(color="pink").color
  assert not verdict(size="large").size
  assert not verdict(x=50, y=10).place
  alone = agreement.agreement(reading, scenes.Scene((item,)))
  assert not alone.count
  assert not alone.shape
  ground = scenes.Scene((item, other), scenes.Background("mint", "dotted"))
  assert not agreement.agreement(reading, ground).background
  assert not agreement.agreement(reading, ground).texture


def test_relative_position_is_checked():
  a = scenes.Object("circle", "red", "small", 12, 32)
  b = scenes.Object("star", "blue", "small", 50, 32)
  swapped = scenes.Scene(
    scenes.arrange((dataclasses.replace(a, x=50), dataclasses.replace(b, x=12)))
  )
  reading = verifier.read(render.render(swapped))
  # The nearest shapes pair up, so position fails through their kinds too.
  verdict = agreement.agreement(reading, scenes.Scene((a, b)))
  assert not verdict.shape
  above = dataclasses.replace(b, x=12, y=10)
  verdict = agreement.agreement(
    reading, scenes.Scene(scenes.arrange((a, above)))
  )
  assert not verdict.position


def test_an_empty_or_formless_picture_gives_no_named_shape():
  white = np.full((64, 64, 3), 250, np.uint8)
  assert verifier.read(white) == verifier.Reading((), "white", "plain", None)
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
  assert all(o.shape == "unknown" for o in verifier.read(noise).objects)
  streak = white.copy()
  streak[30:36, 4:60] = (220, 30, 35)
  (seen,) = verifier.read(streak).objects
  assert (seen.shape, seen.color) == ("unknown", "red")


def test_other_pictures_are_refused():
  with pytest.raises(ValueError, match="resize"):
    verifier.read(np.zeros((32, 32, 3), np.uint8))
  with pytest.raises(ValueError, match="float"):
    verifier.read(np.zeros((64, 64, 3), np.float32))


def test_the_verifier_knows_nothing_of_the_generator():
  for module in (verifier, verifier.forms):
    names = {getattr(value, "__name__", "") for value in vars(module).values()}
    assert "unialign_jax.shapes.scene" not in names
    assert "unialign_jax.shapes.render" not in names


def test_a_ground_with_no_readable_row_has_no_pattern():
  free = np.zeros((32, 32), bool)
  free[:, ::4] = True  # eight pixels a row: too few to tell rows from cells
  tone = np.where(np.arange(32)[:, None] % 2, 40.0, 200.0) * np.ones((1, 32))
  assert verifier._pattern(tone, free, 40.0, 200.0) == "unknown"
