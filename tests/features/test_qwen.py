"""Qwen2.5-VL features equal a plain transformers script's."""

import builtins
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.features import fakes  # noqa: E402
from tests.features import tiny_encoders  # noqa: E402
from unialign_jax.features import hub  # noqa: E402
from unialign_jax.features import qwen  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("models") / "qwen"
  return tiny_encoders.save_qwen(path)


@pytest.fixture(scope="module")
def samples():
  rng = np.random.default_rng(0)
  captions = ("a red circle", "blue", "<|im_end|> rédé\n", " ", "a square")
  return [
    fakes.sample(
      i,
      target_image=rng.integers(0, 256, (height, width, 3), np.uint8),
      caption=caption,
    )
    for i, (caption, height, width) in enumerate(
      zip(captions, (32, 32, 30, 3, 6), (32, 32, 50, 48, 6))
    )
  ]


@pytest.fixture(scope="module")
def script(folder, samples):
  """The features, and the merged tokens with their grids, by transformers."""
  model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
    folder, dtype=torch.float32
  ).eval()
  processor = transformers.AutoImageProcessor.from_pretrained(
    folder, backend="pil"
  )
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  maps, image, text = [], [], []
  with torch.no_grad():
    for sample in samples:
      picture = Image.fromarray(sample.target_image)
      inputs = processor(images=picture, return_tensors="pt")
      (tokens,) = model.get_image_features(**inputs).pooler_output
      _, height, width = inputs["image_grid_thw"][0].tolist()
      maps.append(tokens.reshape(height // 2, width // 2, -1).numpy())
      image.append(tokens.mean(0).numpy())
      ids = torch.tensor(tokenizer(sample.caption)["input_ids"])
      text.append(model.get_input_embeddings()(ids).mean(0).numpy())
  return np.stack(image), np.stack(text), maps


def test_features_equal_those_of_transformers(folder, samples, script):
  encoder = qwen.QwenFeatures.load(folder, batch_size=2)
  h_image, h_text = encoder(samples)
  assert h_image.dtype == h_text.dtype == np.float32
  assert h_image.shape == (5, encoder.dim) == (5, tiny_encoders.QWEN_WIDTH)
  np.testing.assert_allclose(h_image, script[0], rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(h_text, script[1], rtol=1e-4, atol=1e-5)
  assert np.abs(h_image[0] - h_image[1]).max() > 0.05  # they see the picture


def test_the_batching_changes_nothing(folder, samples):
  whole = qwen.QwenFeatures.load(folder)(samples)
  single = qwen.QwenFeatures.load(folder, batch_size=1)(samples)
  for got, want in zip(single, whole):
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_an_equal_grid_is_kept_token_by_token(folder, samples, script):
  encoder = qwen.QwenFeatures.load(folder, patches=(4, 4))
  h_image, h_text = encoder(samples[:2])
  assert h_image.shape == (2, 16, encoder.dim) and h_text.shape[0] == 2
  for got, want in zip(h_image, script[2]):
    np.testing.assert_allclose(got, want.reshape(16, -1), atol=1e-4)


@pytest.mark.parametrize("patches", [(8, 8), (2, 2), (3, 5)])
@pytest.mark.parametrize("index", [0, 2])
def test_another_grid_is_interpolated(folder, samples, script, index, patches):
  encoder = qwen.QwenFeatures.load(folder, patches=patches)
  h_image, _ = encoder([samples[index]])
  tokens = script[2][index]
  assert index == 0 or tokens.shape[0] != tokens.shape[1]  # an oblong one too
  rows, columns = map(_weights, tokens.shape[:2], patches)
  want = np.einsum("rh,cw,hwe->rce", rows, columns, tokens)
  np.testing.assert_allclose(
    h_image[0], want.reshape(-1, encoder.dim), atol=1e-4
  )


def _weights(size: int, count: int) -> np.ndarray:
  """Triangles around the new cells' centres, at least one old cell wide."""
  centres = (np.arange(count) + 0.5) * size / count
  offsets = np.arange(size) + 0.5 - centres[:, None]
  weights = np.maximum(0, 1 - np.abs(offsets) / max(size / count, 1))
  return weights / weights.sum(1, keepdims=True)


def test_pixels_decide_the_grid(folder, samples):
  """Enlarged to 64 x 64, the picture has 8 x 8 tokens of its own."""
  options = {"min_pixels": 4096, "max_pixels": 4096, "patches": (8, 8)}
  exact = qwen.QwenFeatures.load(folder, **options)
  blurred = qwen.QwenFeatures.load(folder, patches=(8, 8))
  assert exact.processor.size["shortest_edge"] == 4096
  assert exact.identity != blurred.identity
  got, want = exact(samples[:1])[0], blurred(samples[:1])[0]
  assert got.shape == want.shape and np.abs(got - want).max() > 0.05


def _renamed(folder, target, names):
  """The model with other tensor names, in one file, and nothing else."""
  import safetensors.torch

  target.mkdir()
  for path in folder.iterdir():
    if path.suffix == ".json" and "index" not in path.name:
      (target / path.name).write_bytes(path.read_bytes())
  state = {}
  for file in sorted(set(hub.weight_map(folder, "model").values())):
    state |= safetensors.torch.load_file(folder / file)
  kept = {}
  for name, tensor in state.items():
    for old, new in names.items():
      if name.removeprefix("model.").startswith(old):
        kept[new + name.removeprefix("model.").removeprefix(old)] = tensor
  safetensors.torch.save_file(kept, target / "model.safetensors")
  return target


def test_both_ways_to_name_the_tensors(folder, samples, tmp_path):
  want = qwen.QwenFeatures.load(folder)
  table = "embed_tokens.weight"
  old = {"visual.": "visual.", table: f"model.{table}"}
  old[f"language_model.{table}"] = f"model.{table}"
  new = {
    name: value.replace("visual.", "model.visual.").replace(
      "model.embed", "model.language_model.embed"
    )
    for name, value in old.items()
  }
  for key, names in (("old", old), ("new", new)):
    other = _renamed(folder, tmp_path / key, names)
    got = qwen.QwenFeatures.load(other)
    assert got.identity == want.identity
    for a, b in zip(got(samples[:2]), want(samples[:2])):
      np.testing.assert_array_equal(a, b)


def test_the_published_form_of_the_configuration(folder, tmp_path, samples):
  """The 7B's config.json has the decoder's keys at the top."""
  for path in folder.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  config = json.loads((folder / "config.json").read_text())
  text, vision = config.pop("text_config"), config.pop("vision_config")
  vision["in_chans"] = vision.pop("in_channels")
  vision["model_type"] = "qwen2_5_vl"
  flat = {**text, **config, "vision_config": vision}
  (tmp_path / "config.json").write_text(json.dumps(flat))
  got, want = qwen.QwenFeatures.load(tmp_path), qwen.QwenFeatures.load(folder)
  assert got.identity == want.identity
  np.testing.assert_array_equal(got(samples)[0], want(samples)[0])


def test_only_two_parts_are_read(folder, tmp_path, samples):
  """The decoder's weights may be missing altogether."""
  needed = {
    file
    for name, file in hub.weight_map(folder, "model").items()
    if "visual." in name or "embed_tokens" in name
  }
  for path in folder.iterdir():
    if path.suffix == ".json" or path.name in needed:
      (tmp_path / path.name).write_bytes(path.read_bytes())
  left_out = {path.name for path in folder.glob("*.safetensors")} - needed
  assert left_out
  encoder = qwen.QwenFeatures.load(tmp_path)
  held = sum(p.numel() for p in encoder.tower.parameters())
  assert held == sum(
    p.numel()
    for p in transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
      folder
    ).model.visual.parameters()
  )
  assert np.isfinite(encoder(samples)[0]).all()


def test_identity_follows_what_is_computed_not_the_precision(folder, tmp_path):
  base = qwen.QwenFeatures.load(folder)
  half = qwen.QwenFeatures.load(folder, dtype=jnp.bfloat16, batch_size=3)
  assert half.tower.dtype == torch.bfloat16
  assert half.identity == base.identity
  other = tiny_encoders.save_qwen(tmp_path / "another")
  other_identity = qwen.QwenFeatures.load(other).identity
  settings = other / "preprocessor_config.json"
  changed = json.loads(settings.read_text()) | {"image_mean": [0.5, 0.5, 0.5]}
  settings.write_text(json.dumps(changed))
  identities = {
    base.identity,
    other_identity,
    qwen.QwenFeatures.load(other).identity,
    qwen.QwenFeatures.load(folder, patches=(4, 4)).identity,
    qwen.QwenFeatures.load(folder, max_pixels=256).identity,
  }
  assert len(identities) == 5


def test_half_precision_is_close(tmp_path, samples):
  """Weights in bfloat16, as published; the tower in either precision."""
  folder = tiny_encoders.save_qwen(tmp_path / "half", dtype=torch.bfloat16)
  full = qwen.QwenFeatures.load(folder)
  half = qwen.QwenFeatures.load(folder, dtype=jnp.bfloat16)
  assert full.tower.dtype == torch.float32
  assert full.table_VE.dtype == torch.bfloat16
  want, got = full(samples), half(samples)
  np.testing.assert_allclose(got[0], want[0], atol=0.1)
  np.testing.assert_array_equal(got[1], want[1])
  other = tiny_encoders.save_qwen(tmp_path / "more", dtype=torch.bfloat16)
  assert (
    full.identity == half.identity != qwen.QwenFeatures.load(other).identity
  )
  assert np.abs(got[0] - want[0]).max() > 1e-4


def test_what_does_not_fit_is_refused(folder, tmp_path, samples):
  encoder = qwen.QwenFeatures.load(folder)
  with pytest.raises(ValueError, match="no caption"):
    encoder([fakes.sample(0, caption="")])
  with pytest.raises(ValueError, match="no samples"):
    encoder([])
  only_text = _renamed(
    folder,
    tmp_path / "text",
    {"language_model.embed": "model.embed", "embed": "model.embed"},
  )
  with pytest.raises(ValueError, match=r"0 tensors 'visual\.\*' and a table"):
    qwen.QwenFeatures.load(only_text)
  part = _renamed(
    folder,
    tmp_path / "part",
    {
      "language_model.embed": "model.embed",
      "embed": "model.embed",
      "visual.blocks": "visual.blocks",
      "visual.patch": "visual.patch",
    },
  )
  with pytest.raises(ValueError, match=r"merger.*: 'got None, expected \("):
    qwen.QwenFeatures.load(part)
  config = json.loads((part / "config.json").read_text())
  (part / "config.json").write_text(
    json.dumps(config | {"model_type": "qwen2_vl"})
  )
  with pytest.raises(ValueError, match="expected 'qwen2_5_vl'"):
    qwen.QwenFeatures.load(part)


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("intermediate_size", 40, r"got \(36, 24\), expected \(40, 24\)"),
    ("depth", 2, r"blocks\.2\..*expected None"),
    ("depth", 4, r"blocks\.3\..*got None"),
  ],
)
def test_weights_of_another_shape_are_refused(
  folder, tmp_path, key, value, message
):
  for path in folder.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  config = json.loads((folder / "config.json").read_text())
  config["vision_config"][key] = value
  (tmp_path / "config.json").write_text(json.dumps(config))
  with pytest.raises(ValueError, match=message):
    qwen.QwenFeatures.load(tmp_path)


def test_a_tokenizer_larger_than_the_table_is_refused(folder, tmp_path):
  for path in folder.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  tokenizer.add_tokens([f"word{i}" for i in range(9)])
  tokenizer.save_pretrained(tmp_path)
  with pytest.raises(ValueError, match=r"expected at most the \d+ rows"):
    qwen.QwenFeatures.load(tmp_path)


def test_missing_files_are_named(folder, tmp_path):
  for path in folder.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  for name in ("tokenizer.json", "preprocessor_config.json", "config.json"):
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"has no {name}"):
      qwen.QwenFeatures.load(tmp_path)


def test_without_torch_the_extra_is_named(folder, monkeypatch):
  real_import = builtins.__import__

  def without_torch(name, *args, **kwargs):
    if name == "torch" or name.startswith("torch."):
      raise ImportError("No module named 'torch'")
    return real_import(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", without_torch)
  with pytest.raises(ValueError, match=r"unialign_jax\[encoders\]"):
    qwen.QwenFeatures.load(folder)


def test_size_of_the_published_model():
  """The numbers in the module's docstring."""
  config = transformers.Qwen2_5_VLConfig(
    vision_config={"hidden_size": 1280, "out_hidden_size": 3584},
    text_config={"hidden_size": 3584, "vocab_size": 152064},
  )
  from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

  with torch.device("meta"):
    tower = modeling.Qwen2_5_VisionTransformerPretrainedModel(
      config.vision_config
    )
  count = sum(p.numel() for p in tower.parameters())
  assert count == 676_550_144 and f"{count:,}" in qwen.__doc__
  table = config.text_config.vocab_size * config.text_config.hidden_size
  assert round(table * 2 / 1e9, 2) == 1.09
  assert round(count * 2 / 1e9, 2) == 1.35
