"""Pictures: determinism, antialiasing, depth order, styles, maps."""

import dataclasses

import numpy as np
import pytest

from unialign_jax.shapes import maps
from unialign_jax.shapes import render
from unialign_jax.shapes import scene as scenes

RED = scenes.Object("circle", "red", "large", 18, 18)


@pytest.mark.parametrize("shape", scenes.SHAPES)
@pytest.mark.parametrize("size", scenes.SIZES)
def test_shapes_stay_within_their_reach(shape, size):
  item = scenes.Object(shape, "red", size, 32, 32)
  coverage = render.object_coverage(item)
  y, x = np.nonzero(coverage > 0.5)
  farthest = np.hypot(x + 0.5 - 32, y + 0.5 - 32).max()
  assert item.reach - 2.2 < farthest < item.reach + 0.8
  assert coverage.min() == 0
  assert coverage.max() == 1
  partly = (coverage > 0.05) & (coverage < 0.95)
  assert partly.any()  # antialiased


def test_same_scene_same_picture_at_any_size():
  scene = scenes.Scene((RED,), scenes.Background("beige", "checked"))
  small, large = render.render(scene), render.render(scene, 128)
  assert small.shape == (64, 64, 3)
  assert large.shape == (128, 128, 3)
  np.testing.assert_array_equal(small, render.render(scene))
  halved = large.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
  assert np.abs(halved - small).mean() < 1.0


def test_nearer_shapes_hide_farther_ones():
  blue = scenes.Object("square", "blue", "large", 18, 34)
  image = render.render(scenes.Scene((RED, blue)))
  both = (render.object_coverage(RED) == 1) & (
    render.object_coverage(blue) == 1
  )
  assert both.sum() > 5
  assert (image[both] == render.RGB["blue"]).all()
  share = render.covered_share(blue, RED)
  assert 0.02 < share < 0.4


def test_styles_change_pixels_as_they_say():
  scene = scenes.Scene((RED,), scenes.Background("mint", "dotted"))
  image = render.render(scene).astype(int)

  def styled(style):
    picture = render.render(dataclasses.replace(scene, style=style))
    return picture.astype(int)

  assert np.abs(styled("negative") - (255 - image)).max() <= 1
  grey = styled("grayscale")
  assert np.ptp(grey, axis=-1).max() == 0
  luma = image @ (0.299, 0.587, 0.114)
  assert np.abs(grey[..., 0] - luma).max() <= 1
  assert len({styled(style).tobytes() for style in scenes.STYLES}) == 5
  inside = render.object_coverage(RED) == 1
  assert (styled("sketch")[18, 18] == 250).all()
  assert styled("sketch")[inside].min() < 100  # the outline


def test_unknown_names_are_refused():
  with pytest.raises(ValueError, match="unknown shape"):
    render.object_coverage(dataclasses.replace(RED, shape="blob"))
  with pytest.raises(ValueError, match="unknown texture"):
    render.render(scenes.Scene((), scenes.Background("white", "furry")))
  with pytest.raises(ValueError, match="unknown style"):
    render.render(scenes.Scene((RED,), style="cubist"))


def test_figures_have_joints_on_ink():
  for pose in scenes.POSES:
    for mirrored in (False, True):
      figure = scenes.Figure(pose, 32, 32, mirrored)
      coverage = render.figure_coverage(figure)
      for x, y in render.joints(figure).values():
        assert coverage[int(y), int(x)] > 0.3, (pose, x, y)


def test_canny_follows_shapes_and_not_patterns():
  scene = scenes.Scene((RED,), scenes.Background("beige", "striped"))
  edges = maps.canny(render.render(scene))
  assert set(np.unique(edges)) == {0, 255}
  y, x = np.nonzero(edges[..., 0])
  distance = np.hypot(x + 0.5 - RED.x, y + 0.5 - RED.y)
  assert len(x) > 40
  assert np.abs(distance - RED.radius).max() < 2.5


@pytest.mark.parametrize("color", scenes.COLORS)
@pytest.mark.parametrize("ground", scenes.BACKGROUND_COLORS)
def test_canny_sees_every_color_on_every_ground(color, ground):
  item = dataclasses.replace(RED, color=color)
  edges = maps.canny(
    render.render(scenes.Scene((item,), scenes.Background(ground)))
  )
  assert (edges[..., 0] > 0).sum() > 50


def test_depth_is_brighter_where_nearer():
  low = scenes.Object("square", "blue", "small", 50, 50)
  figure = scenes.Figure("standing", 48, 22)
  depth = maps.depth(scenes.Scene((RED, low), figure=figure))[..., 0]
  head = render.joints(figure)["head"]
  values = [depth[18, 18], depth[int(head[1]), int(head[0])], depth[50, 50]]
  assert values == [165, 210, 255]
  assert depth[2, 2] == 0


def test_pose_map_needs_a_figure_and_differs_by_pose():
  with pytest.raises(ValueError, match="figure"):
    maps.pose(scenes.Scene((RED,)))
  pictures = {
    maps.pose(scenes.Scene((), figure=scenes.Figure(p, 32, 32))).tobytes()
    for p in scenes.POSES
  }
  assert len(pictures) == len(scenes.POSES)
