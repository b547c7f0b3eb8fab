"""Sizes from headers, and the limits on them."""

import pytest

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import picture_size
from unialign_jax.data.sources import rejection


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_size_is_width_and_height(form):
  picture = base.Picture(written.picture(9, form, size=(300, 200)))
  assert picture_size.read(picture) == (300, 200)


def test_what_cannot_be_read_is_left_to_the_decoder():
  broken = base.Picture(b"no picture")
  assert picture_size.read(broken) is None
  picture_size.check([broken], min_side=1, max_aspect=1)


@pytest.mark.parametrize(
  ("limits", "reason"),
  [
    ({"min_side": 200, "max_aspect": 1.5}, ""),
    ({}, ""),
    ({"min_side": 201}, "filtered: min_side"),
    ({"max_aspect": 1.49}, "filtered: max_aspect"),
  ],
)
@pytest.mark.parametrize("size", [(300, 200), (200, 300)])
def test_limits_hold_for_both_orientations(limits, reason, size):
  pictures = [
    base.Picture(written.picture(0, size=(250, 250))),
    base.Picture(written.picture(0, size=size)),
  ]
  if not reason:
    picture_size.check(pictures, **limits)
    return
  with pytest.raises(rejection.Rejection) as caught:
    picture_size.check(pictures, **limits)
  assert caught.value.reason == reason
