"""Maps of photographs: Canny edges, and functions of the user's."""

import pickle

import numpy as np
import pytest

from unialign_jax.data.sources import base
from unialign_jax.data.sources import map_makers
from unialign_jax.data.sources import rejection

THIS = "tests.data.sources.test_map_makers"
NOT_A_FUNCTION = 3


def depth(photo):
  """Depth by column, of a photograph that is not black."""
  if not photo.any():
    return None
  return np.tile(np.arange(photo.shape[1], dtype=np.uint8), (len(photo), 1))


def pose(photo):
  return 255 - photo


def wrong_dtype(photo):
  return photo.astype(np.float32)


def wrong_size(photo):
  return photo[:-1]


def wrong_channels(photo):
  return photo[..., :1]


def no_array(photo):
  return photo.tolist()


def square(size=40, low=50, high=200):
  """A bright square of half the size in the middle of a dark picture."""
  image = np.full((size, size, 3), low, np.uint8)
  quarter = size // 4
  image[quarter:-quarter, quarter:-quarter] = high
  return image


def test_canny_draws_the_outline_in_white_on_black():
  made = map_makers.Maker("canny")(square())
  assert made.dtype == np.uint8 and made.shape == (40, 40)
  assert set(np.unique(made)) == {0, 255}
  # Closed all around, and thin: a step lies between two pixels.
  ys, xs = np.nonzero(made)
  assert {ys.min(), xs.min()} <= {9, 10} and {ys.max(), xs.max()} <= {29, 30}
  for column in made[:, 13:27].T:
    assert 2 <= np.count_nonzero(column) <= 4
  for row in made[13:27]:
    assert 2 <= np.count_nonzero(row) <= 4


def test_canny_black_on_white_is_the_inverse():
  inverse = map_makers.Maker("canny", style="canny_black_on_white")
  assert inverse.style == map_makers.CANNY_BLACK_ON_WHITE
  np.testing.assert_array_equal(
    inverse(square()), 255 - map_makers.Maker("canny")(square())
  )


def test_canny_sees_strong_edges_only():
  maker = map_makers.Maker("canny")
  assert maker(square(low=100, high=160)).any()
  with pytest.raises(rejection.Rejection, match="empty map"):
    maker(square(low=100, high=130))


def test_predictors():
  photo = square()
  maker = map_makers.Maker("depth", predictor=f"{THIS}:depth")
  assert maker.style == "depth_grey_near_white"
  np.testing.assert_array_equal(maker(photo)[0], np.arange(40))
  maker = map_makers.Maker(
    "pose", predictor=f"{THIS}:pose", style="pose_white_sticks"
  )
  assert maker.style == "pose_white_sticks"
  np.testing.assert_array_equal(maker(photo), 255 - photo)


def test_nothing_to_show():
  maker = map_makers.Maker("depth", predictor=f"{THIS}:depth")
  with pytest.raises(rejection.Rejection, match="no map"):
    maker(np.zeros((4, 4, 3), np.uint8))
  maker = map_makers.Maker("pose", predictor=f"{THIS}:pose")
  with pytest.raises(rejection.Rejection, match="empty map"):
    maker(np.full((4, 4, 3), 9, np.uint8))


@pytest.mark.parametrize(
  ("name", "got"),
  (
    ("wrong_dtype", "float32"),
    ("wrong_size", r"\(39, 40, 3\)"),
    ("wrong_channels", r"\(40, 40, 1\)"),
    ("no_array", "list"),
  ),
)
def test_a_predictor_that_gives_no_map(name, got):
  maker = map_makers.Maker("depth", predictor=f"{THIS}:{name}")
  with pytest.raises(
    base.SourceError, match=rf"{name}'.*{got}.*uint8 \(40, 40, 3\)"
  ):
    maker(square())


@pytest.mark.parametrize(
  ("options", "message"),
  (
    ({"kind": "etching"}, r"kind='etching'.*'canny', 'depth'"),
    ({"kind": "canny", "predictor": f"{THIS}:pose"}, '"" for canny'),
    ({"kind": "depth"}, '"package.module:function" for the other kinds'),
    ({"kind": "canny", "style": "canny_red"}, "'canny_black_on_white'"),
    (
      {"kind": "depth", "predictor": f"{THIS}:depth", "style": "grey"},
      'begins with "depth_"',
    ),
    ({"kind": "depth", "predictor": "depth"}, "package.module:function"),
    ({"kind": "depth", "predictor": f"{THIS}:"}, "package.module:function"),
    (
      {"kind": "depth", "predictor": "no_such.module:f"},
      "No module.*PYTHONPATH",
    ),
    ({"kind": "depth", "predictor": f"{THIS}:nothing"}, "nothing.*PYTHONPATH"),
    ({"kind": "depth", "predictor": f"{THIS}:NOT_A_FUNCTION"}, "a int"),
  ),
)
def test_options_that_there_are_not(options, message):
  with pytest.raises(base.SourceError, match=message):
    map_makers.Maker(**options)


def test_every_style_names_its_kind():
  for kind, styles in map_makers.STYLES.items():
    assert styles and all(style.startswith(f"{kind}_") for style in styles)


def test_a_copy_in_another_process_makes_the_same(monkeypatch):
  maker = map_makers.Maker("depth", predictor=f"{THIS}:depth")
  # What a predictor holds is not copied: each process imports its own.
  monkeypatch.setattr(maker, "_function", lambda photo: photo)
  copy = pickle.loads(pickle.dumps(maker))
  np.testing.assert_array_equal(copy(square()), depth(square()))
  canny = map_makers.Maker("canny")
  copy = pickle.loads(pickle.dumps(canny))
  np.testing.assert_array_equal(copy(square()), canny(square()))
