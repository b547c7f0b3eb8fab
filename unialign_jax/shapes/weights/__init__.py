"""The Shapes model that comes with the package: a folder in diffusers layout.

    ua.Pipeline.load(weights.FOLDER)

Encoders by `python -m unialign_jax.shapes.pretrain`, transformer by
`python -m unialign_jax.shapes.ship`.
"""

import pathlib

FOLDER = pathlib.Path(__file__).parent
TEXT_ENCODER = FOLDER / "text_encoder_3"
TOKENIZER = FOLDER / "tokenizer_3"
VAE = FOLDER / "vae"
