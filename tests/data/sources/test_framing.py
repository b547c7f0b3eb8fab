"""All pictures of a sample meet the square through the same window."""

import numpy as np
import pytest
from PIL import Image

from unialign_jax.data.sources import framing

SIDE = 32


def noise(height, width, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def smooth(height, width):
  """The same scene at any size."""
  y, x = np.mgrid[:height, :width]
  u, v = (x + 0.5) / width, (y + 0.5) / height
  channels = [u, v, 0.5 + 0.5 * np.sin(5 * u + 3 * v)]
  return (np.stack(channels, -1) * 255).round().astype(np.uint8)


def one(image, policy="crop", side=SIDE):
  (framed,) = framing.frame([image], side, policy)
  assert framed.shape == (side, side, 3) and framed.dtype == np.uint8
  return framed


def resized(image, width, height):
  picture = Image.fromarray(image)
  return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def close(got, expected, levels):
  assert abs(got.astype(int) - expected.astype(int)).max() <= levels


@pytest.mark.parametrize("policy", framing.POLICIES)
def test_a_right_picture_is_untouched(policy, monkeypatch):
  monkeypatch.setattr(Image.Image, "resize", None)
  image = noise(SIDE, SIDE)
  assert np.array_equal(one(image, policy), image)


@pytest.mark.parametrize(("height", "width"), [(32, 47), (46, 32), (33, 32)])
def test_crop_only_cuts_where_the_short_side_is_right(height, width):
  image = noise(height, width)
  top, left = (height - 32) // 2, (width - 32) // 2
  expected = image[top : top + 32, left : left + 32]
  np.testing.assert_array_equal(one(image), expected)


@pytest.mark.parametrize(
  ("height", "width", "scaled_height", "scaled_width"),
  [(64, 128, 32, 64), (96, 64, 48, 32), (16, 32, 32, 64)],
)
def test_crop_is_short_side_bicubic_and_centre(
  height, width, scaled_height, scaled_width
):
  image = noise(height, width)
  scaled = resized(image, scaled_width, scaled_height)
  top, left = (scaled_height - 32) // 2, (scaled_width - 32) // 2
  close(one(image), scaled[top : top + 32, left : left + 32], 1)


def test_crop_of_a_very_long_picture_needs_little_memory():
  assert one(noise(1, 20_000), side=64).shape == (64, 64, 3)


@pytest.mark.parametrize(
  ("height", "width", "top", "left"), [(16, 32, 8, 0), (64, 30, 0, 8)]
)
def test_pad_is_even_and_white(height, width, top, left):
  got = one(noise(height, width) // 2, "pad")
  inner = got[
    top : SIDE - top, left : left + round(width * 32 / max(height, width))
  ]
  assert inner.max() < 255
  scale = SIDE / max(height, width)
  expected = noise(height, width) // 2
  if scale != 1:
    expected = resized(expected, round(width * scale), round(height * scale))
  close(inner, expected, 1)
  outer = got.astype(int)
  outer[top : SIDE - top, left : left + inner.shape[1]] = 255
  assert outer.min() == 255


def test_pad_keeps_a_line_of_a_very_long_picture():
  got = one(np.zeros((1, 500, 3), np.uint8), "pad")
  assert (got.min(axis=(1, 2)) == 0).sum() == 1


def test_squash_resizes_both_sides():
  image = noise(40, 90)
  np.testing.assert_array_equal(one(image, "squash"), resized(image, 32, 32))


@pytest.mark.parametrize("policy", framing.POLICIES)
@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_conditions_share_the_targets_window(policy, scale):
  target = smooth(80, 120)
  condition = smooth(int(80 * scale), int(120 * scale))
  framed = framing.frame([target, condition, target], SIDE, policy)
  close(framed[1], framed[0], 6)
  np.testing.assert_array_equal(framed[2], framed[0])


def test_a_condition_of_slightly_other_shape_fills_the_window():
  """A 3 % narrower condition is stretched to the target's frame."""
  target, condition = smooth(100, 150), smooth(100, 146)
  framed = framing.frame([target, condition], SIDE, "crop")
  close(framed[1], framed[0], 4)


def test_order_and_number_are_kept():
  images = [np.full((40, 40, 3), n, np.uint8) for n in range(4)]
  framed = framing.frame(images, SIDE, "crop")
  assert [image.max() for image in framed] == [0, 1, 2, 3]


def test_each_picture_is_resampled_at_most_once(monkeypatch):
  count = []
  original = Image.Image.resize

  def counted(self, *args, **options):
    count.append(self.size)
    return original(self, *args, **options)

  monkeypatch.setattr(Image.Image, "resize", counted)
  framing.frame([noise(64, 96), noise(16, 24), noise(32, 48)], 32, "crop")
  assert count == [(96, 64), (24, 16)]


@pytest.mark.parametrize("policy", framing.POLICIES)
def test_other_aspect_ratios_are_refused(policy):
  target = noise(100, 100)
  for shape in ((100, 104), (104, 100), (200, 100)):
    with pytest.raises(framing.FramingError, match="condition 0") as error:
      framing.frame([target, noise(*shape)], SIDE, policy)
    assert error.value.reason == "aspect ratios differ"
  for shape in ((100, 103), (102, 100), (202, 200)):
    framing.frame([target, noise(*shape)], SIDE, policy)
  with pytest.raises(framing.FramingError, match="condition 1"):
    framing.frame([target, target, noise(100, 150)], SIDE, policy)


@pytest.mark.parametrize("policy", framing.POLICIES)
def test_pictures_of_their_own_frame(policy):
  images = [noise(40, 40), noise(50, 90, 1), noise(70, 30, 2)]
  framed = framing.frame(images, SIDE, policy, same_frame=False)
  for got, image in zip(framed, images):
    np.testing.assert_array_equal(got, one(image, policy))


@pytest.mark.parametrize(("policy", "side"), [("zoom", 8), ("crop", 0)])
def test_bad_arguments(policy, side):
  with pytest.raises(ValueError, match=r"zoom|side 0"):
    framing.frame([noise(8, 8)], side, policy)
