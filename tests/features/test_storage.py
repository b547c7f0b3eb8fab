"""Sizes are those of real shards, FLOPs those that XLA and PyTorch count."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from tests.features import test_manifest
from unialign_jax.features import quantise
from unialign_jax.features import schema
from unialign_jax.features import shards
from unialign_jax.features import storage
from unialign_jax.models import vae

DOCS = pathlib.Path(__file__).parents[2] / "docs/features.md"
SMALL = {"resolution": 64, "text_length": 12, "text_dim": 8, "semantic_dim": 7}


def record(sizes: storage.Sizes, index: int) -> schema.Record:
  """A record of noise, made as features are made."""
  rng = np.random.default_rng(index)

  def noise(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)

  def ids(*shape: int) -> np.ndarray:
    return rng.integers(0, 32100, shape, np.int32)

  side = sizes.resolution // sizes.latent_factor
  latent = (side, side, sizes.latent_channels)
  L, M = sizes.text_length, sizes.draws
  h_image = noise(sizes.patches or 1, sizes.semantic_dim)
  stored = {}
  if M:
    stored = {
      "masked_ids": ids(M, L),
      "is_masked": ids(M, L).astype(np.uint8),
      "masked_t": noise(M),
    }
    for name, shape in (("prompt", (L,)), ("masked", (M, L))):
      features, scale = quantise.quantise(
        noise(*shape, sizes.text_dim), sizes.feature_dtype
      )
      stored[f"{name}_features"] = features
      stored[f"{name}_scale"] = scale
  return schema.Record(
    latents_mean=noise(*latent).astype(np.float16),
    latents_std=noise(*latent).astype(np.float16),
    cond_latents=noise(sizes.num_cond, *latent).astype(np.float16),
    prompt_ids=ids(L),
    caption_ids=ids(L),
    label_mask=ids(L).astype(np.uint8),
    h_image=(h_image if sizes.patches else h_image[0]).astype(np.float16),
    h_text=noise(sizes.semantic_dim).astype(np.float16),
    task="edit",
    source="anyedit/add",
    key=f"{index:05d}".rjust(sizes.provenance - 35, "k"),
    license="CC-BY-4.0",
    caption_source="dataset-...",
    **stored,
  )


@pytest.mark.parametrize(
  "options, count",
  [
    ({"draws": 4, "text_dim": 512, "resolution": 256}, 12),
    ({"draws": 2, "text_dim": 512, "feature_dtype": "int8"}, 20),
    ({"num_cond": 3, "provenance": 300}, 10),
    ({"patches": 256, "semantic_dim": 2048, "resolution": 256}, 8),
    # Where what lies around a record weighs more than the record.
    (SMALL | {"latent_channels": 1, "draws": 1}, 3000),
  ],
)
def test_a_shard_is_as_large_as_computed(tmp_path, options, count):
  sizes = storage.Sizes(**options)
  shard = shards.write(
    epath.Path(tmp_path),
    0,
    (record(sizes, i) for i in range(count)),
    test_manifest.LAYOUT,
    shards.Outcome(),
  )
  assert shard.bytes > 6e6
  each = storage.record_bytes(sizes)
  assert storage.shard_bytes(each, count) == pytest.approx(
    shard.bytes, rel=0.01
  )
  length = len(schema.serialize(record(sizes, 0)))
  assert abs(each - length) <= 16  # digits of offsets


def test_shards_are_not_compressed(tmp_path):
  sizes = storage.Sizes()
  shard = shards.write(
    epath.Path(tmp_path),
    0,
    [storage._zeros(sizes)] * 20,
    test_manifest.LAYOUT,
    shards.Outcome(),
  )
  assert storage.set_bytes(sizes, 20) == pytest.approx(shard.bytes, rel=0.01)


def test_a_set_is_its_shards():
  sizes = storage.Sizes(**SMALL)
  each = storage.shard_bytes(storage.record_bytes(sizes), 30)
  rest = storage.shard_bytes(storage.record_bytes(sizes), 5)
  assert storage.set_bytes(sizes, 65, shard_size=30) == 2 * each + rest
  assert storage.set_bytes(sizes, 60, shard_size=30) == 2 * each


@pytest.mark.parametrize(
  "options, named",
  [({"feature_dtype": "int4"}, "int4"), ({"resolution": 500}, "500")],
)
def test_sizes_that_no_record_has_are_refused(options, named):
  with pytest.raises(ValueError, match=named):
    storage.Sizes(**options)


def test_vae_flops_are_those_of_xla():
  image = jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32)
  model = vae.AutoencoderKL(storage.SD3_VAE)
  params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
  encode = jax.jit(
    lambda p, x: model.apply({"params": p}, x, method="encode")
  ).lower(params, image)
  # XLA counts element-wise work, too, but no products with padding.
  assert storage.vae_encoder(storage.SD3_VAE, 512) == pytest.approx(
    encode.cost_analysis()["flops"], rel=0.01
  )


@pytest.mark.parametrize("side", [24, 40, 64])
def test_vision_tower_flops_are_those_of_pytorch(side):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  from torch.utils import flop_counter
  from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

  config = transformers.Qwen2_5_VLConfig(
    vision_config={
      "depth": 3,
      "hidden_size": 24,
      "intermediate_size": 36,
      "num_heads": 2,
      "patch_size": 4,
      "window_size": 16,
      "fullatt_block_indexes": [1],
      "out_hidden_size": 32,
    }
  ).vision_config
  config._attn_implementation = "eager"  # its products are counted
  tower = modeling_qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel(config)
  patches = side // 4
  with (
    torch.inference_mode(),
    flop_counter.FlopCounterMode(display=False) as counter,
  ):
    tower(
      torch.zeros(patches**2, 3 * 2 * 4**2),
      grid_thw=torch.tensor([[1, patches, patches]]),
    )
  small = storage.VisionTower(
    depth=3,
    full_attention=1,
    hidden=24,
    intermediate=36,
    out=32,
    window=2,
    patch=4,
  )
  assert storage.vision_tower(small, side) == counter.get_total_flops()


def test_vision_tower_has_the_published_size():
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

  tower = storage.VisionTower()
  config = transformers.Qwen2_5_VLConfig(
    vision_config={
      "depth": tower.depth,
      "hidden_size": tower.hidden,
      "intermediate_size": tower.intermediate,
      "num_heads": 16,
      "out_hidden_size": tower.out,
    }
  ).vision_config
  with torch.device("meta"):
    model = modeling_qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel(config)
  count = sum(parameter.numel() for parameter in model.parameters())
  assert count == 676_550_144  # of Qwen2.5-VL-7B, as features/qwen.py tells
  assert len(config.fullatt_block_indexes) == tower.full_attention
  side = tower.window * config.spatial_merge_size * tower.patch
  assert config.window_size == side


def test_work_by_mode():
  stored = storage.Sizes(draws=4, num_cond=1)
  online = storage.Sizes(num_cond=1)
  once = storage.precompute(stored)["T5"]
  visited = storage.visit(online)["T5"]
  assert once / visited == 2.5  # visits after which storing took less work
  assert storage.precompute(online)["T5"] == storage.visit(stored)["T5"] == 0
  one, two = (storage.precompute(storage.Sizes(num_cond=n)) for n in (0, 1))
  assert two["VAE"] == 2 * one["VAE"] and two["Qwen2.5-VL"] == one["Qwen2.5-VL"]


def test_the_docs_hold_the_table():
  assert f"\n\n{storage.table()}\n\n" in DOCS.read_text(encoding="utf-8")
