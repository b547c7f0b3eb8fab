"""The detectors and the CLIP of transformers: real ones, tiny and random."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.evals import tiny_models
from unialign_jax.evals.geneval import colors as colors_lib
from unialign_jax.evals.geneval import detector as detector_lib
from unialign_jax.evals.geneval import prompts
from unialign_jax.evals.geneval import rule


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("models")
  tiny_models.mask2former(path / "mask2former")
  tiny_models.detr(path / "detr")
  tiny_models.clip(path / "clip")
  return path


@pytest.fixture(scope="module")
def picture() -> Image.Image:
  rng = np.random.default_rng(0)
  return Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))


def _check(objects: list[rule.Object], classes: frozenset[str]) -> None:
  assert objects
  for found in objects:
    left, top, right, bottom = found.box
    assert found.name in classes
    assert rule.CONFIDENCE <= found.confidence <= 1
    assert left < right and top < bottom


def test_an_instance_segmenter_gives_masks_and_the_boxes_around_them(
  folder: pathlib.Path, picture: Image.Image
):
  model = detector_lib.Transformers(str(folder / "mask2former"))
  objects = model.find(picture)
  _check(objects, model.classes)
  for found in objects:
    assert found.mask.shape == (40, 60)
    left, top, right, bottom = map(int, found.box)
    assert found.mask[top:bottom, left:right].sum() == found.mask.sum()
    assert found.mask[top].any() and found.mask[bottom - 1].any()
    assert found.mask[:, left].any() and found.mask[:, right - 1].any()
  assert model.identity.endswith("(mask2former)")


def test_a_detector_of_boxes_gives_boxes_in_pixels(
  folder: pathlib.Path, picture: Image.Image
):
  model = detector_lib.Transformers(str(folder / "detr"))
  objects = model.find(picture)
  _check(objects, model.classes)
  assert all(found.mask is None for found in objects)
  # In pixels, not in shares of the picture.
  assert max(found.box[2] for found in objects) > 2


def test_classes_have_genevals_names(folder: pathlib.Path):
  for name in ("mask2former", "detr"):
    classes = detector_lib.Transformers(str(folder / name)).classes
    assert classes == {
      *("bench", "cat", "dog", "clock", "car", "tv remote", "computer mouse"),
      *("tv", "dining table"),
    }


def test_clip_names_a_colour_for_each_object(
  folder: pathlib.Path, picture: Image.Image
):
  model = colors_lib.Clip(str(folder / "clip"))
  mask = np.zeros((40, 60), bool)
  mask[5:20, 5:20] = True
  objects = [
    rule.Object(name="dog", box=(5, 5, 20, 20), confidence=1.0, mask=mask),
    rule.Object(name="dog", box=(0.2, 0.2, 59.7, 39.6), confidence=1.0),
  ]
  named = model.name(picture, objects, "dog")
  assert len(named) == 2 and set(named) <= set(prompts.COLORS)
  # One at a time is the same as together, and again is the same.
  alone = [model.name(picture, [found], "dog")[0] for found in objects]
  assert alone == named == model.name(picture, objects, "dog")


def test_clip_takes_the_colour_whose_direction_is_nearest(
  folder: pathlib.Path, picture: Image.Image, monkeypatch
):
  model = colors_lib.Clip(str(folder / "clip"))
  whole = rule.Object(name="dog", box=(0, 0, 60, 40), confidence=1.0)
  inputs = model._processor(images=[picture], return_tensors="pt")
  feature = model._model.get_image_features(**inputs).pooler_output[0].detach()
  for number in (0, 3, 9):
    weights = -feature.repeat(10, 1)
    weights[number] *= -1
    monkeypatch.setattr(model, "_classifier", lambda name, w=weights: w)
    assert model.name(picture, [whole], "dog") == [prompts.COLORS[number]]


def test_a_colours_direction_is_the_mean_of_three_prompts_of_one_length(
  folder: pathlib.Path,
):
  model = colors_lib.Clip(str(folder / "clip"))
  for number in (0, 9):
    color, directions = prompts.COLORS[number], []
    for text in (
      f"a photo of a {color} dog",
      f"a photo of a {color}-colored dog",
      f"a photo of a {color} object",
    ):
      inputs = model._tokenizer([text], return_tensors="pt")
      feature = model._model.get_text_features(**inputs).pooler_output
      feature = feature.detach().numpy()[0]
      directions.append(feature / np.linalg.norm(feature))
    mean = np.mean(directions, axis=0)
    expected = mean / np.linalg.norm(mean)
    got = model._classifier("dog")[number].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_an_object_is_cut_out_with_grey_around_its_mask():
  picture = Image.new("RGB", (6, 4), (10, 20, 30))
  mask = np.zeros((4, 6), bool)
  mask[1:3, 2:4] = True
  mask[1, 2] = False
  found = rule.Object(name="a", box=(2, 1, 4, 3), confidence=1.0, mask=mask)
  cut = np.asarray(colors_lib.cut_out(picture, found))
  assert cut.shape == (2, 2, 3)
  assert cut[0, 0].tolist() == [153, 153, 153]
  assert cut[0, 1].tolist() == cut[1, 0].tolist() == [10, 20, 30]
  bare = rule.Object(name="a", box=(2, 1, 5, 3), confidence=1.0)
  cut = np.asarray(colors_lib.cut_out(picture, bare))
  assert cut.shape == (2, 3, 3) and (cut == [10, 20, 30]).all()


def test_the_box_of_a_mask_ends_behind_its_last_pixel():
  mask = np.zeros((5, 7), bool)
  mask[1, 2] = mask[3, 5] = True
  assert detector_lib.box_of(mask) == (2, 1, 6, 4)


@pytest.mark.parametrize(
  "make, name",
  [
    (detector_lib.Transformers, "detector"),
    (colors_lib.Clip, "clip"),
  ],
)
def test_what_cannot_be_loaded_is_named(tmp_path: pathlib.Path, make, name):
  with pytest.raises(ValueError, match=f"--set {name}="):
    make(str(tmp_path))
