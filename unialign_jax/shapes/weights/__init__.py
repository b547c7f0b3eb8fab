"""Where the shipped encoders of the Shapes world lie (Hugging Face layout).

Made by `python -m unialign_jax.shapes.pretrain`.
"""

import pathlib

FOLDER = pathlib.Path(__file__).parent
TEXT_ENCODER = FOLDER / "text_encoder"
TOKENIZER = FOLDER / "tokenizer"
VAE = FOLDER / "vae"
