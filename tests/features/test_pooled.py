"""The stand-in semantic features: pooled, projected, reproducible."""

import numpy as np

from tests.features import fakes
from unialign_jax.features import pooled


def make(text=None, dim=6, length=8, seed=0):
  return pooled.PooledFeatures(
    text or fakes.FakeTextEncoder(),
    fakes.FakeImageEncoder(),
    dim=dim,
    text_length=length,
    seed=seed,
  )


def test_image_features_are_linear_in_the_mean_latent():
  features = make()
  red, green, both = np.zeros((3, 8, 8, 3), np.uint8)
  red[..., 0] = 80
  green[:4, :, 1] = 40
  both = red + green
  samples = [
    fakes.sample(i, target_image=x) for i, x in enumerate((red, green, both))
  ]
  h_image, h_text = features(samples)
  assert h_image.shape == h_text.shape == (3, features.dim)
  assert h_image.dtype == h_text.dtype == np.float32
  np.testing.assert_allclose(h_image[0] + h_image[1], h_image[2], rtol=1e-5)
  # Where a colour is does not matter, only how much of it there is.
  moved, _ = features([fakes.sample(0, target_image=green[::-1])])
  np.testing.assert_allclose(moved[0], h_image[1], rtol=1e-5)


def test_text_features_do_not_see_padding():
  samples = [fakes.sample(0, caption="a #20"), fakes.sample(1, caption="#30")]
  _, short = make(length=4)(samples)
  _, long = make(length=12)(samples)
  np.testing.assert_allclose(short, long, rtol=1e-5)
  assert not np.allclose(short[0], short[1])
  _, empty = make()([fakes.sample(0, caption="")])  # the mean of one EOS
  assert np.isfinite(empty).all() and not np.allclose(empty, short)


def test_streams_have_projections_of_their_own():
  class SameWidth(fakes.FakeTextEncoder):
    def encode(self, ids_BL):
      ones_BL1 = np.ones((*ids_BL.shape, 1), np.float32)
      return ones_BL1 * np.float32([1, 2, 3])

  image = np.full((8, 8, 3), np.array([2, 4, 6]), np.uint8)
  h_image, h_text = make(SameWidth())([fakes.sample(0, target_image=image)])
  assert not np.allclose(h_image, h_text)


def test_identity_and_features_change_with_what_they_depend_on():
  base = make()
  assert base.identity == make().identity
  others = [
    make(dim=7),
    make(length=9),
    make(seed=1),
    make(fakes.FakeTextEncoder("other")),
  ]
  assert len({base.identity, *(o.identity for o in others)}) == 5
  sample = [fakes.sample(9)]
  assert not np.allclose(base(sample)[0], make(seed=1)(sample)[0])
