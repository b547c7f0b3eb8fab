"""Trains and writes the small frozen encoders of the Shapes world.

  python -m unialign_jax.shapes.pretrain [--output=FOLDER] [--encoder=text]

Makes samples of every task, builds the tokenizer, trains the T5 encoder and
the autoencoder (about ten minutes on two cores), and writes

  FOLDER/text_encoder_3  config.json, model.safetensors
  FOLDER/tokenizer_3     tokenizer.json, tokenizer_config.json
  FOLDER/vae             config.json, diffusion_pytorch_model.safetensors

in half precision and Hugging Face layout, so that transformers and diffusers
load the same folders. The last lines report what was reached on held-out
samples, measured with the files just written.
"""

import json
import pathlib
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app
from absl import flags

from unialign_jax.convert import mapping
from unialign_jax.convert import t5_table
from unialign_jax.convert import tensors
from unialign_jax.convert import vae_table
from unialign_jax.data import sample as sample_lib
from unialign_jax.features import encoders
from unialign_jax.models import t5
from unialign_jax.models import vae
from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import language
from unialign_jax.shapes import maps
from unialign_jax.shapes import pretrain_image
from unialign_jax.shapes import pretrain_text
from unialign_jax.shapes import tasks
from unialign_jax.shapes import tokenizer as tokenizer_lib
from unialign_jax.shapes import weights

TEXT_LENGTH = feature_sets.TEXT_LENGTH
# Every fourth text is of the unrestricted world, so that all words occur.
_WORLDS = (tasks.World(), *3 * (feature_sets.WORLD,))
# "Q" and "A" frame questions, see data sample's `question`.
WORDS = (*language.VOCABULARY, "Q", "A")
_PICTURE_KINDS = (
  ("text_to_image", ""),
  ("edit", ""),
  ("edit", "style"),
  ("personalise", ""),
  *(("perception", kind) for kind in maps.KINDS),
)
_OUTPUT = flags.DEFINE_string(
  "output", str(weights.FOLDER), "Folder to write the three encoders into."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of samples, weights and noise.")
_ENCODERS = flags.DEFINE_multi_enum(
  "encoder", ["text", "image"], ["text", "image"], "What to train."
)
_SAMPLES = flags.DEFINE_integer("samples", 1500, "Samples of each task.")


def make_samples(
  seed: Sequence[int], split: str, per_task: int
) -> list[sample_lib.Sample]:
  """Samples of every task, the tasks in turn, all scenes of one split."""
  rng = np.random.default_rng(seed)
  return [
    tasks.make(task, rng, split=split, world=_WORLDS[i % len(_WORLDS)])
    for i in range(per_task)
    for task in sample_lib.TASKS
  ]


def make_pictures(seed: Sequence[int], rounds: int) -> np.ndarray:
  """Training pictures for the autoencoder, rare kinds as often as scenes.

  Maps and styles are a small share of what the tasks make and the hardest
  to reconstruct, so each kind gets a sample a round.
  """
  rng = np.random.default_rng(seed)
  return pictures_of(
    [
      tasks.make(task, rng, split="train", kind=kind)
      for _ in range(rounds)
      for task, kind in _PICTURE_KINDS
    ]
  )


def texts_of(samples: Sequence[sample_lib.Sample]) -> list[str]:
  """Every text that the two passes of training would encode."""
  texts = []
  for sample in samples:
    prefix = f"Q: {sample.question} A: " if sample.question else ""
    texts.append(prefix + sample.caption)
    if sample.instruction:
      texts.append(sample.instruction)
  return texts


def pictures_of(samples: Sequence[sample_lib.Sample]) -> np.ndarray:
  """Every picture, targets and conditions, uint8 `[N, H, W, 3]`."""
  return np.stack(
    [p for s in samples for p in (s.target_image, *s.cond_images)]
  )


def write_text_encoder(
  folder: pathlib.Path, config: t5.T5Config, params: Any
) -> None:
  """Writes a T5 encoder as `transformers.T5EncoderModel` reads it."""
  state = mapping.to_torch(t5_table.rules(), params)
  half = {name: tensor.astype(np.float16) for name, tensor in state.items()}
  tensors.save(folder, "model", half)
  described = {
    "architectures": ["T5EncoderModel"],
    "model_type": "t5",
    "vocab_size": config.vocab_size,
    "d_model": config.d_model,
    "d_kv": config.d_kv,
    "d_ff": config.d_ff,
    "num_layers": config.num_layers,
    "num_heads": config.num_heads,
    "feed_forward_proj": config.feed_forward_proj,
    "relative_attention_num_buckets": config.relative_attention_num_buckets,
    "relative_attention_max_distance": config.relative_attention_max_distance,
    "layer_norm_epsilon": config.layer_norm_epsilon,
    "is_encoder_decoder": False,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
  }
  _write_json(folder / "config.json", described)


def write_vae(folder: pathlib.Path, config: vae.VAEConfig, params: Any) -> None:
  """Writes an autoencoder as `diffusers.AutoencoderKL` reads it."""
  state = mapping.to_torch(vae_table.rules(), params)
  half = {name: tensor.astype(np.float16) for name, tensor in state.items()}
  tensors.save(folder, "diffusion_pytorch_model", half)
  levels = len(config.block_out_channels)
  described = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "in_channels": config.in_channels,
    "out_channels": config.out_channels,
    "down_block_types": ["DownEncoderBlock2D"] * levels,
    "up_block_types": ["UpDecoderBlock2D"] * levels,
    "block_out_channels": list(config.block_out_channels),
    "layers_per_block": config.layers_per_block,
    "latent_channels": config.latent_channels,
    "norm_num_groups": config.norm_num_groups,
    "sample_size": 64,
    "scaling_factor": config.scaling_factor,
    "shift_factor": config.shift_factor,
    "use_quant_conv": config.use_quant_conv,
    "use_post_quant_conv": config.use_post_quant_conv,
    "mid_block_add_attention": config.mid_block_add_attention,
    "force_upcast": True,
  }
  _write_json(folder / "config.json", described)


def _write_json(path: pathlib.Path, value: Any) -> None:
  path.write_text(json.dumps(value, indent=2) + "\n")


def train_text(
  folder: pathlib.Path,
  samples: Sequence[sample_lib.Sample],
  test_samples: Sequence[sample_lib.Sample],
  *,
  recipe: pretrain_text.Recipe,
  seed: int,
  log: Callable[[str], None],
) -> None:
  """Builds the tokenizer, trains the T5 encoder, writes both."""
  tokenizer = tokenizer_lib.build(WORDS)
  tokenizer_lib.save(tokenizer, folder / "tokenizer_3")

  def tokenise(chosen: Sequence[sample_lib.Sample]) -> np.ndarray:
    texts = texts_of(chosen)
    return tokenizer_lib.encode(tokenizer, texts, TEXT_LENGTH)

  vocab_size = tokenizer.get_vocab_size()
  params, accuracy = pretrain_text.train(
    tokenise(samples),
    tokenise(test_samples),
    vocab_size=vocab_size,
    mask_id=tokenizer.token_to_id(encoders.MASK_TOKEN),
    recipe=recipe,
    seed=seed,
    log=log,
  )
  described = recipe.config(vocab_size)
  write_text_encoder(folder / "text_encoder_3", described, params)
  log(f"text: accuracy on masked tokens of held-out texts {accuracy:.3f}")


def train_image(
  folder: pathlib.Path,
  pictures: np.ndarray,
  test_samples: Sequence[sample_lib.Sample],
  *,
  recipe: pretrain_image.Recipe,
  seed: int,
  log: Callable[[str], None],
) -> None:
  """Trains the autoencoder, writes it, reports what the files reach."""
  config, params = pretrain_image.train(
    pictures, recipe=recipe, seed=seed, log=log
  )
  write_vae(folder / "vae", config, params)
  image_encoder = encoders.ImageEncoder.load(folder / "vae", batch_size=32)
  for task in sample_lib.TASKS:
    chosen = [sample for sample in test_samples if sample.task == task]
    for what, group in _groups(chosen).items():
      mean, _ = image_encoder.encode(group)
      decibel = pretrain_image.psnr(image_encoder.decode(mean), group)
      log(
        f"image: {task} {what}: PSNR mean {decibel.mean():.2f} dB, "
        f"worst {decibel.min():.2f} dB"
      )
  mean, std = image_encoder.encode(pictures_of(test_samples))
  for name, values in (
    ("mean", mean.mean((0, 1, 2))),
    ("std", np.sqrt(mean.var((0, 1, 2)) + np.square(std).mean((0, 1, 2)))),
    ("posterior std", std.mean((0, 1, 2))),
  ):
    listed = " ".join(f"{v:.2f}" for v in values)
    log(f"image: scaled latents, {name} of each channel: {listed}")


def _groups(
  samples: Sequence[sample_lib.Sample],
) -> dict[str, np.ndarray]:
  """Targets and condition pictures apart."""
  groups = {"targets": [s.target_image for s in samples]}
  groups["conditions"] = [p for s in samples for p in s.cond_images]
  return {name: np.stack(group) for name, group in groups.items() if group}


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments {argv[1:]}; see --help.")
  start = time.monotonic()

  def log(line: str) -> None:
    print(f"[{time.monotonic() - start:6.1f} s] {line}", flush=True)

  seed, folder = _SEED.value, pathlib.Path(_OUTPUT.value)
  samples = make_samples([seed, 0], "train", _SAMPLES.value)
  pictures = make_pictures([seed, 1], _SAMPLES.value)
  test_samples = make_samples([seed, 2], "test", 50)
  log(f"made {len(samples)} samples for texts, {len(pictures)} pictures")
  options = {"seed": seed, "log": log}
  if "text" in _ENCODERS.value:
    recipe = pretrain_text.Recipe()
    train_text(folder, samples, test_samples, recipe=recipe, **options)
  if "image" in _ENCODERS.value:
    recipe = pretrain_image.Recipe()
    train_image(folder, pictures, test_samples, recipe=recipe, **options)
  size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
  log(f"wrote {folder}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
  app.run(main)
