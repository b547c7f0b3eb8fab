"""What models write around a caption goes; what describes the picture stays."""

import pytest

from unialign_jax.features.captioning import wording


@pytest.mark.parametrize(
  ("written", "caption"),
  [
    ("The image shows a red bus.", "A red bus."),
    ("The image depicts two dogs running.", "Two dogs running."),
    ("This picture portrays an old man.", "An old man."),
    ("The photo captures the moment a cat jumps.", "The moment a cat jumps."),
    ("The image features\na vase.\n\nIt is blue.", "A vase. It is blue."),
    ("The provided image clearly displays a map.", "A map."),
    ("The image appears to show a lake.", "A lake."),
    ("This is an image of a red bus.", "A red bus."),
    ("This is a photo showing a bus.", "A bus."),
    ("An image of a tree.", "A tree."),
    ("In this image, we can see a horse.", "A horse."),
    ("In the picture there is a horse.", "There is a horse."),
    ("We can see a horse.", "A horse."),
    ("Here is a caption: A red bus.", "A red bus."),
    ("Here's a description of the image:\n\nA red bus.", "A red bus."),
    ("Sure! Here is a caption: The image shows a bus.", "A bus."),
    ("Caption: a red bus.", "A red bus."),
    ('"A red bus."', "A red bus."),
    ("“The image shows a bus.”", "A bus."),
    ("**A red bus** on a `road`.", "A red bus on a road."),
    (
      "## Description\n- A bus.\n- A _red_ car.",
      "Description A bus. A red car.",
    ),
    ("```\nA bus.\n```", "A bus."),
    ("<think>A bus?</think>\nA bus.", "A bus."),
    ("a bus\ud83d.", "A bus."),
    # These say something about the picture.
    ("The painting depicts a bus.", "The painting depicts a bus."),
    ("A photo of a bench.", "A photo of a bench."),
    (
      "This is a black and white photograph of a dog.",
      "This is a black and white photograph of a dog.",
    ),
    ('A sign that says "STOP" and "GO".', 'A sign that says "STOP" and "GO".'),
    ('"STOP" is written on "GO"', '"STOP" is written on "GO"'),
    ("The imagery shows a bus.", "The imagery shows a bus."),
    ("The scene is lit by 2 * 3 lamps.", "The scene is lit by 2 * 3 lamps."),
    ("A file named a_b_c.", "A file named a_b_c."),
    ("", ""),
    ("The image shows ", "The image shows"),
    ("<think>A bus, or", ""),
  ],
)
def test_clean(written, caption):
  assert wording.clean(written) == caption


@pytest.mark.parametrize(
  ("text", "refusal"),
  [
    ("I'm sorry, but I can't help with that.", True),
    ("I’m sorry, I can’t describe it.", True),
    ("Sorry, no.", True),
    ("I cannot identify people.", True),
    ("I am unable to view images.", True),
    ("As an AI, I have no eyes.", True),
    ("Unfortunately, I see nothing.", True),
    ("A sorry sight: a man who cannot walk.", False),
    ("I-beams on a truck.", False),
    ("Sorry Street, at night.", False),
  ],
)
def test_refusals(text, refusal):
  assert wording.is_refusal(text) is refusal
