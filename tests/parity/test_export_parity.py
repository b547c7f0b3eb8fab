"""An exported folder computes in PyTorch what the run computes in JAX."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from tests.convert import exporting
from tests.parity import close
from unialign_jax import config as config_lib
from unialign_jax.convert import export_folder
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.convert import tensors
from unialign_jax.features import encoders
from unialign_jax.features import null_prompt
from unialign_jax.models import mmdit
from unialign_jax.sampling import image as image_sampling
from unialign_jax.sampling import prompts
from unialign_jax.sampling import text as text_sampling
from unialign_jax.shapes import weights

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
torch_mmdit = pytest.importorskip("tests.parity.torch_mmdit")
torch_transformer = pytest.importorskip(
  "unialign_jax.convert.pytorch.unialignment_transformer"
)

PROMPTS = ["a red circle", "a blue square on the left"]
QUESTION = "what color is the circle?"
SETTINGS = {"steps": 4, "guidance": 3.0, "shift": 3.0}
TEXT_STEPS = 5

# Runs where neither JAX nor this package can be imported.
_SCRIPT = """
import sys
absent = ("jax", "jaxlib", "flax", "optax", "orbax", "unialign_jax")
sys.modules.update(dict.fromkeys(absent))  # None refuses the import
import diffusers, numpy, PIL.Image, torch
torch.set_num_threads(2)
folder, work, question, *prompts = sys.argv[1:]
given = numpy.load(work + "/given.npz")
pipe = diffusers.DiffusionPipeline.from_pretrained(
  folder, trust_remote_code=True)
pipe.set_progress_bar_config(disable=True)
picture = PIL.Image.open(work + "/picture.png")
noise = torch.tensor(given["noise"])
settings = dict(num_inference_steps=4, guidance_scale=3.0, shift=3.0,
                latents=noise, output_type="latent")
pictures = [picture, picture.rotate(90)]
out = {
  "latents": pipe(prompts, **settings).images,
  "edited": pipe.edit(pictures, prompts, **settings).images,
  "plain": pipe(prompts, **settings | {"guidance_scale": 1.0}).images,
}
with torch.no_grad():
  out["pixels"] = pipe.pictures.postprocess(
    pipe.decode_latents(out["latents"]), output_type="pt")
  seen = pipe.encode_images(picture, 64, 64).repeat(2, 1, 1, 1)
  out["logits"] = pipe.text_logits(
    seen, torch.tensor(given["ids"]), torch.tensor(given["is_masked"]))
greedy = dict(schedule="confidence", temperature=0.0, num_inference_steps=5)
caption = pipe.caption(pictures, **greedy)
answer = pipe.caption(picture, question, **greedy)
pipe.caption(pictures)  # ancestral, with the defaults of the folder
texts = numpy.array(caption + answer)
made = pipe(prompts[0], num_inference_steps=1, num_images_per_prompt=2).images
assert [image.size for image in made] == [(64, 64)] * 2
pipe.to(torch.bfloat16)
out["bfloat16"] = pipe(prompts, **settings).images
pipe.caption(pictures, **greedy)
# The encoders by reference; the weights saved by diffusers itself.
pipe = diffusers.DiffusionPipeline.from_pretrained(
  work + "/referring", trust_remote_code=True)
pipe.transformer.save_pretrained(work + "/referring/transformer")
pipe = diffusers.DiffusionPipeline.from_pretrained(
  work + "/referring", trust_remote_code=True)
out["referring"] = pipe(prompts, **settings).images
loaded = [name for name in absent if sys.modules[name] is not None]
assert not loaded, loaded
numpy.savez(work + "/got.npz", texts=texts,
            **{k: v.numpy() for k, v in out.items()})
"""


class Ours(NamedTuple):
  """The run in JAX."""

  config: config_lib.Config
  params: Any
  text: encoders.TextEncoder
  image: encoders.ImageEncoder
  picture: np.ndarray  # [64, 64, 3] uint8


class Given(NamedTuple):
  """What both sides begin with."""

  key: jax.Array
  noise: np.ndarray  # [B, H, W, C]
  ids: np.ndarray  # [B, L]
  is_masked: np.ndarray


@pytest.fixture(scope="module")
def ours() -> Ours:
  config, params = exporting.small()
  rng = np.random.default_rng(3)
  coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
  return Ours(
    config,
    params,
    encoders.TextEncoder.load(weights.TEXT_ENCODER, weights.TOKENIZER),
    encoders.ImageEncoder.load(weights.VAE),
    coarse.repeat(8, 0).repeat(8, 1),
  )


@pytest.fixture(scope="module")
def given(ours: Ours) -> Given:
  key = jax.random.key(5)
  shape = (2, *ours.config.latent_shape)
  is_masked = np.random.default_rng(4).random((2, 24)) < 0.6
  return Given(
    key,
    np.asarray(jax.random.normal(key, shape, jnp.float32)),
    ours.text.tokenise(PROMPTS, 24),
    is_masked,
  )


@pytest.fixture(scope="module")
def theirs(
  ours: Ours, given: Given, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
  """What PyTorch computes in a process without JAX."""
  work = tmp_path_factory.mktemp("work")
  folder = work / "exported"
  export_folder.write(
    folder, ours.config, ours.params, exporting.ORIGIN, target="diffusers"
  )
  _write_referring(work / "referring", folder, ours)
  PIL.Image.fromarray(ours.picture).save(work / "picture.png")
  np.savez(
    work / "given.npz",
    noise=given.noise.transpose(0, 3, 1, 2),
    ids=given.ids.astype(np.int64),
    is_masked=given.is_masked,
  )
  done = subprocess.run(
    [sys.executable, "-c", _SCRIPT, folder, work, QUESTION, *PROMPTS],
    cwd=work,
    env={**os.environ, "HF_HOME": str(work / "hf"), "HF_HUB_OFFLINE": "1"},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  with np.load(work / "got.npz") as got:
    return dict(got)


def _write_referring(
  out: pathlib.Path, encoders_at: pathlib.Path, ours: Ours
) -> None:
  """Exports by reference to a hub id, and lets a local folder stand for it."""
  names = config_lib.EncodersConfig(
    text="owner/model/text_encoder_3",
    tokenizer="owner/model/tokenizer_3",
    image="owner/model/vae",
    mask_embedding="",
  )
  config = dataclasses.replace(ours.config, encoders=names)
  export_folder.write(
    out,
    config,
    ours.params,
    exporting.ORIGIN,
    target="diffusers",
    encoders="reference",
  )
  index = out / "model_index.json"
  text = index.read_text()
  assert text.count('"owner/model"') == 3
  index.write_text(text.replace('"owner/model"', json.dumps(str(encoders_at))))


def _pictures(ours: Ours) -> np.ndarray:
  """The two condition images, [2, 64, 64, 3]."""
  return np.stack([ours.picture, np.rot90(ours.picture)])


def _sample(ours: Ours, given: Given, **changes: Any) -> np.ndarray:
  """Latents of the prompts, channels first."""
  null = null_prompt.encode(ours.text, 24).features
  latents = image_sampling.sample_images(
    mmdit.MMDiT(ours.config.model).apply,
    ours.params,
    jnp.asarray(ours.text.encode(ours.text.tokenise(PROMPTS, 24))),
    jnp.asarray(null),
    jnp.asarray(given.noise),
    **{**SETTINGS, **changes},
  )
  return np.asarray(latents).transpose(0, 3, 1, 2)


def test_same_latents_with_guidance(ours, given, theirs):
  close.assert_close(theirs["latents"], _sample(ours, given))


def test_encoders_by_reference_change_nothing(theirs):
  np.testing.assert_array_equal(theirs["referring"], theirs["latents"])


def test_bfloat16_stays_near(theirs):
  close.assert_close(theirs["bfloat16"], theirs["latents"], relative=0.1)


def test_same_latents_without_guidance(ours, given, theirs):
  close.assert_close(theirs["plain"], _sample(ours, given, guidance=1.0))


def test_same_latents_with_condition_images(ours, given, theirs):
  mean, _ = ours.image.encode(_pictures(ours))
  cond = np.broadcast_to(mean, (2, *mean.shape))
  want = _sample(ours, given, cond_BNHWC=jnp.asarray(cond))
  close.assert_close(theirs["edited"], want)
  assert np.abs(theirs["edited"] - theirs["latents"]).max() > 1e-2


def test_same_pixels(ours, given, theirs):
  latents = _sample(ours, given).transpose(0, 2, 3, 1)
  want = ours.image.decode(latents).astype(np.float32)
  got = np.round(theirs["pixels"].transpose(0, 2, 3, 1) * 255)
  assert np.abs(got - want).max() <= 1


def test_same_logits_of_masked_text(ours, given, theirs):
  mean, _ = ours.image.encode(ours.picture[None])
  ids = np.where(given.is_masked, ours.text.mask_id, given.ids)
  want = mmdit.MMDiT(ours.config.model).apply(
    {"params": ours.params},
    jnp.asarray(mean.repeat(2, 0)),
    jnp.asarray(ours.text.encode(ids)),
    jnp.zeros((2,), jnp.float32),
    heads=("logits",),
  )
  allowed = np.arange(ours.text.vocab_size) != ours.text.mask_id
  close.assert_close(
    theirs["logits"][..., allowed], np.asarray(want.logits_BLV)[..., allowed]
  )
  assert (theirs["logits"][..., ~allowed] < -1e5).all()


def test_same_texts_under_greedy_unmasking(ours, theirs):
  eos_id = ours.text.eos_id
  pictures = _pictures(ours)
  sample = text_sampling.make_sampler(
    mmdit.MMDiT(ours.config.model).apply,
    lambda params, ids: ours.text.model.apply({"params": params}, ids),
    mask_id=ours.text.mask_id,
    steps=TEXT_STEPS,
    schedule="confidence",
    temperature=0.0,
  )
  want = []
  for seen, (ids, is_given) in (
    (pictures, prompts.caption_prompt(2, 24, eos_id=eos_id)),
    (
      pictures[:1],
      prompts.answer_prompt(ours.text.tokenise, [QUESTION], 24, eos_id=eos_id),
    ),
  ):
    mean, _ = ours.image.encode(seen)
    keys = jax.random.split(jax.random.key(0), len(ids))
    tokens = sample(ours.params, ours.text.params, mean, keys, ids, is_given)
    want += prompts.decode(
      ours.text.tokenizer, np.asarray(tokens), is_given, eos_id=eos_id
    )
  assert theirs["texts"].tolist() == want
  assert len(set(want)) > 1
  assert all(want)


def _state(folder: pathlib.Path) -> dict[str, "torch.Tensor"]:
  stored = tensors.Tensors(folder / "transformer", export_folder.STEM)
  return {name: torch.tensor(stored[name]) for name in stored}


def test_loads_strictly_by_the_names_of_the_authors(ours, tmp_path):
  export_folder.write(
    tmp_path / "out",
    ours.config,
    ours.params,
    exporting.ORIGIN,
    target="unialignment",
  )
  network = torch_mmdit.TorchMMDiT(ours.config.model)
  network.load_state_dict(_state(tmp_path / "out"), strict=True)


def test_dual_diffusion_is_the_same_without_the_adapters(ours, tmp_path):
  export_folder.write(
    tmp_path / "out",
    ours.config,
    ours.params,
    exporting.ORIGIN,
    target="dual_diffusion",
  )
  network = torch_mmdit.TorchMMDiT(ours.config.model)
  del network.siglip_adapter_img, network.siglip_adapter_text
  network.load_state_dict(_state(tmp_path / "out"), strict=True)


VARIANTS = {
  "plain": ({}, False),
  "shards": ({}, True),
  "qk_norm": ({"qk_norm": True}, False),
  "dual": ({"qk_norm": True, "dual_attention_depth": 1}, True),
  "all_dual": ({"dual_attention_depth": 2}, False),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_by_itself(tmp_path, variant: str):
  """Every head, the null image, and a folder in shards."""
  model, shards = VARIANTS[variant]
  config = exporting.config(**model)
  params = exporting.random_params(config.model)
  export_folder.write(
    tmp_path / "out",
    config,
    params,
    exporting.ORIGIN,
    target="diffusers",
    max_bytes=40_000 if shards else 10**9,
  )
  network = torch_transformer.UniAlignmentTransformer2DModel.from_pretrained(
    tmp_path / "out/transformer", low_cpu_mem_usage=False
  ).eval()
  state = {k: v.numpy() for k, v in network.state_dict().items()}
  rules = mmdit_table.rules(config.model)
  read = mapping.to_flax(rules, state, params)
  jax.tree.map(np.testing.assert_array_equal, read, params)

  rng = np.random.default_rng(0)
  latents = rng.normal(size=(2, 8, 8, 16)).astype(np.float32)
  text = rng.normal(size=(2, 5, 96)).astype(np.float32)
  t = np.array([0.2, 0.9], np.float32)
  for seen in (latents, None):
    want = mmdit.MMDiT(config.model).apply({"params": params}, seen, text, t)
    with torch.no_grad():
      got = network(
        None if seen is None else torch.tensor(seen.transpose(0, 3, 1, 2)),
        torch.tensor(text),
        torch.tensor(1000 * t),
        heads=("sample", "logits", "image_mid", "text_mid"),
      )
    close.assert_close(got.logits, want.logits_BLV)
    close.assert_close(got.image_mid, want.image_mid_BE)
    close.assert_close(got.text_mid, want.text_mid_BE)
    if seen is not None:
      sample = got.sample.numpy().transpose(0, 2, 3, 1)
      close.assert_close(sample, want.velocity_BHWC)
