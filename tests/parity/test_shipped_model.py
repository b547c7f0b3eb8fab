"""The trained model of the package draws and writes the same in PyTorch."""

import pathlib

import jax
import numpy as np
import pytest

from unialign_jax import pipeline
from unialign_jax.bench import samplers
from unialign_jax.sampling import image as image_sampling
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.shapes import feature_sets
from unialign_jax.use import loading

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")


def test_same_pictures_and_captions(tmp_path: pathlib.Path):
  ours = pipeline.Pipeline.load(loading.SHIPPED)
  samplers.export(loading.SHIPPED, tmp_path / "out")
  theirs = diffusers.DiffusionPipeline.from_pretrained(
    tmp_path / "out", trust_remote_code=True
  )
  theirs.set_progress_bar_config(disable=True)
  exam = exam_lib.make(4, 1, feature_sets.WORLD)

  prompts = [sample.instruction for sample in exam.singles]
  keys = jax.numpy.stack([jax.random.key(seed) for seed in range(len(prompts))])
  noise_BHWC = np.asarray(image_sampling.noise(keys, (8, 8, 16)))
  noise = torch.tensor(noise_BHWC.transpose(0, 3, 1, 2))
  got = np.stack(theirs(prompts, latents=noise).images).astype(int)
  wanted = [
    pipeline.Drawing(text=text, seed=seed) for seed, text in enumerate(prompts)
  ]
  want = np.stack(ours.draw(wanted)).astype(int)
  assert np.abs(got - want).max() <= 2

  shown = [pipeline.Image.fromarray(s.target_image) for s in exam.pictures]
  greedy = {"schedule": "confidence", "temperature": 0.0}
  texts = ours.caption(shown, **greedy)
  assert theirs.caption(shown, **greedy) == texts
  assert all(texts)
