"""What is asked depends on the kind of picture, and its id tells what was."""

import pytest

from tests.features.captioning import fakes
from unialign_jax.features.captioning import prompts


@pytest.mark.parametrize(
  ("task", "style", "name", "words"),
  [
    ("text_to_image", "", "photo-1", "Describe what is in this picture"),
    ("personalise", "", "photo-1", "Describe what is in this picture"),
    ("edit", "", "edit-1", "say nothing about changes"),
    (
      "perception",
      "canny_white_on_black",
      "map-1/canny_white_on_black",
      "This picture is a Canny edge map (white on black).",
    ),
    ("perception", "depth", "map-1/depth", "This picture is a depth map."),
    ("perception", "rain_map", "map-1/rain_map", "a rain map (map)."),
    ("perception", "", "map-1", "such as edges, depth or pose."),
  ],
)
def test_prompt_of_a_sample(task, style, name, words):
  prompt = prompts.of(fakes.raw(1, task=task, map_style=style))
  assert prompt.id == name
  assert words in prompt.text
  assert "at most 120 words" in prompt.text
