"""Perception samples of photographs: both ways, texts, sizes, rejections."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from tests.data.sources import written
from unialign_jax.data.sources import base
from unialign_jax.data.sources import map_makers
from unialign_jax.data.sources import paraphrases
from unialign_jax.data.sources import perception_maps
from unialign_jax.data.sources import pictures

DEPTH = "tests.data.sources.test_perception_maps:depth"
CALLS = []


def depth(photo):
  """Depth by column; None for a photograph of one shade."""
  CALLS.append(photo.shape)
  if photo.min() == photo.max():
    return None
  return np.tile(np.arange(photo.shape[1], dtype=np.uint8), (len(photo), 1))


def image(width=48, height=32):
  """Dark with a bright part on the left."""
  pixels = np.full((height, width, 3), 30, np.uint8)
  pixels[4:-4, 4:20] = (250, 240, 200)
  return Image.fromarray(pixels)


def encoded(picture, form="PNG", **options):
  stream = io.BytesIO()
  picture.save(stream, form, **options)
  return stream.getvalue()


PHOTO = encoded(image())


def photo(key="a.png", data=PHOTO, **changes):
  fields = {
    "key": key,
    "task": "text_to_image",
    "source": "folder/pets",
    "license": "cc0-1.0",
    "caption_source": "dataset",
    "target": base.Picture(data),
    "instruction": "A cat.",
    "caption": "A cat.",
    "scores": {"aesthetic": 5.0},
  }
  return base.Raw(**fields | changes)


def maps(photos, kind="canny", predictor="", style="", **options):
  return perception_maps.Maps(
    photos,
    map_makers.Maker(kind, predictor=predictor, style=style),
    perception_maps.Options(**{"side": 32} | options),
  )


def test_photo_to_map():
  (item,) = list(maps([photo()]))
  expected = map_makers.Maker("canny")(np.asarray(image()))
  np.testing.assert_array_equal(
    pictures.decode(item.target), np.repeat(expected[..., None], 3, -1)
  )
  assert item == base.Raw(
    key="a.png/canny",
    task="perception",
    source="folder/pets/canny",
    license="cc0-1.0",
    caption_source="dataset",
    target=item.target,
    conditions=(base.Picture(PHOTO),),  # the stored bytes
    instruction=paraphrases.pick("canny", "a.png"),
    caption="Canny edge map of: A cat.",
    map_style="canny_white_on_black",
    scores={"aesthetic": 5.0},
  )


def test_map_to_photo():
  (item,) = list(maps([photo()], direction="map_to_photo"))
  (made,) = list(maps([photo()]))
  wording = paraphrases.pick("canny_to_photo", "a.png")
  assert item == base.Raw(
    key="a.png/canny_to_photo",
    task="perception",
    source="folder/pets/canny_to_photo",
    license="cc0-1.0",
    caption_source="dataset",
    target=base.Picture(PHOTO),
    conditions=(made.target,),
    instruction=f"{wording} A cat.",
    caption="A cat.",
    map_style="canny_white_on_black",
    scores={"aesthetic": 5.0},
  )
  (item,) = list(maps([photo()], direction="map_to_photo", describe=False))
  assert (item.instruction, item.caption) == (wording, "A cat.")


def test_both_ways_are_two_samples_of_one_map():
  CALLS.clear()
  photos = [photo("a.png"), photo("b.png")]
  found = list(maps(photos, "depth", DEPTH, direction="both"))
  assert [item.key for item in found] == [
    "a.png/depth",
    "a.png/depth_to_photo",
    "b.png/depth",
    "b.png/depth_to_photo",
  ]
  assert len(CALLS) == 2
  for one, other in (found[:2], found[2:]):
    assert (one.target,) == other.conditions
    assert one.conditions == (other.target,)
  assert {item.map_style for item in found} == {"depth_grey_near_white"}


def test_captions_that_are_left_to_be_written():
  question = photo(task="understanding", question="What?", caption="A cat.")
  for photos, options in (
    ([photo(caption="", caption_source="")], {}),
    ([photo()], {"caption": "none"}),
    ([question], {}),
    ([question], {"direction": "map_to_photo"}),
  ):
    (item,) = list(maps(photos, **options))
    assert (item.caption, item.caption_source, item.question) == ("", "", "")
    assert "A cat." not in item.instruction
    assert item.instruction == item.instruction.strip()


@pytest.mark.parametrize(("side", "size"), ((16, (16, 24)), (64, (64, 96))))
def test_both_pictures_are_made_at_the_training_resolution(side, size):
  (item,) = list(maps([photo()], side=side))
  pair = [pictures.decode(p) for p in (item.target, *item.conditions)]
  assert [picture.shape[:2] for picture in pair] == [size, size]
  # Lines are one or two values: they were not resized after they were drawn.
  assert set(np.unique(pair[0])) == {0, 255}
  expected = image().resize(size[::-1], Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(pair[1], np.asarray(expected))


def test_rotation_and_box_count_before_the_map():
  exif = Image.Exif()
  exif[0x0112] = 6  # to be shown turned by a quarter to the right
  turned = encoded(image().rotate(90, expand=True), exif=exif)
  (item,) = list(maps([photo(data=turned)]))
  (plain,) = list(maps([photo()]))
  assert item.target == plain.target
  assert item.conditions == (base.Picture(turned),)

  wide = Image.new("RGB", (100, 60))
  wide.paste(image(), (10, 20))
  target = base.Picture(encoded(wide), box=(10, 20, 58, 52))
  (item,) = list(maps([photo(target=target)]))
  assert item.target == plain.target
  assert item.conditions == (target,)


def test_rejected():
  photos = [
    base.Rejected(key="r", source="folder/pets", reason="null image"),
    photo("cut", data=PHOTO[:60]),
    photo("text", data=b"no picture"),
    photo("plain", data=written.picture(9, "PNG", size=(32, 32))),
  ]
  canny = list(maps(photos, direction="both"))
  assert [item.key for item in canny[:3]] == [
    "r/canny",
    "r/canny_to_photo",
    "cut/canny",
  ]
  assert {item.source for item in canny[::2]} == {"folder/pets/canny"}
  reasons = [item.reason for item in canny[::2]]
  assert reasons == [item.reason for item in canny[1::2]]
  assert (reasons[0], reasons[2], reasons[3]) == (
    "null image",
    "unknown picture format",
    "empty map",
  )
  assert list(maps(photos, "depth", DEPTH))[3].reason == "no map"


def test_from_the_command_line_of_another_source(tmp_path):
  (tmp_path / "a.png").write_bytes(PHOTO)
  (tmp_path / "a.txt").write_text("A cat.")
  (tmp_path / "a.json").write_text('{"text": "A dog."}')
  source = perception_maps.open_source(
    tmp_path,
    kind="depth",
    predictor=DEPTH,
    style="depth_by_column",
    direction="both",
    side=32,
    captions="json",
  )
  assert [item.caption for item in source] == [
    "Depth map of: A dog.",
    "A dog.",
  ]
  assert {item.map_style for item in source} == {"depth_by_column"}
  with pytest.raises(base.SourceError, match="colour"):
    perception_maps.open_source(tmp_path, colour="red")
  with pytest.raises(base.SourceError, match="albums"):
    perception_maps.open_source(tmp_path, photos="albums")


@pytest.mark.parametrize(
  ("options", "message"),
  (
    ({"direction": "up"}, "direction='up'.*'photo_to_map'.*'both'"),
    ({"caption": "long"}, "caption='long'.*'prefix', 'none'"),
    ({"side": 0}, "side=0"),
  ),
)
def test_options_that_there_are_not(options, message):
  with pytest.raises(base.SourceError, match=message):
    perception_maps.Options(**options)


def test_every_kind_has_a_prefix():
  assert perception_maps.CAPTION_PREFIXES.keys() == map_makers.STYLES.keys()
  for prefix in perception_maps.CAPTION_PREFIXES.values():
    assert prefix.endswith(": ")


def test_a_copy_in_another_process_gives_the_same():
  source = maps([photo()], direction="both")
  assert source[0].task == "perception"
  data = pickle.dumps(source)
  assert source[0].target.data not in data  # the map made last
  copy = pickle.loads(data)
  assert list(copy) == list(source)
