"""The mapping mechanism, on tables of its own."""

import json

import jax
import numpy as np
import pytest

from unialign_jax.convert import mapping
from unialign_jax.convert import tensors

RULES = [
  mapping.Rule("emb.weight", "embed/table", aliases=("tied.weight",)),
  mapping.Rule("blocks.{i}.q.weight", "layers/q/kernel", mapping.linear()),
  mapping.Rule("blocks.{i}.q.bias", "layers/q/bias", mapping.FLAT),
  mapping.Rule("blocks.{i}.out.weight", "layers/out/kernel", mapping.linear(2)),
  mapping.Rule("down.{i}.{j}.weight", "down_{i}_{j}/kernel", mapping.CONV),
  mapping.Rule("patch.weight", "patch/kernel", mapping.patches(2)),
  mapping.Ignored(r"decoder\..*", "the decoder is not used"),
  mapping.Ignored(
    "buffer",
    "computed",
    lambda name, x: "" if x.sum() == 0 else f"expected zeros, got {x}",
  ),
]
DEPTH, WIDTH, HEADS = 3, 4, (2, 5)


def _leaf(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, np.float32)


ABSTRACT = {
  "embed": {"table": _leaf(7, WIDTH)},
  "layers": {
    "q": {"kernel": _leaf(DEPTH, WIDTH, *HEADS), "bias": _leaf(DEPTH, *HEADS)},
    "out": {"kernel": _leaf(DEPTH, *HEADS, WIDTH)},
  },
  "down_0_1": {"kernel": _leaf(3, 3, 2, 6)},
  "down_10_0": {"kernel": _leaf(1, 1, 2, 6)},
  "patch": {"kernel": _leaf(2 * 2 * 3, WIDTH)},
}


@pytest.fixture
def state() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  shapes = {
    "emb.weight": (7, WIDTH),
    "down.0.1.weight": (6, 2, 3, 3),
    "down.10.0.weight": (6, 2, 1, 1),
    "patch.weight": (WIDTH, 3, 2, 2),
  }
  for i in range(DEPTH):
    shapes[f"blocks.{i}.q.weight"] = (10, WIDTH)
    shapes[f"blocks.{i}.q.bias"] = (10,)
    shapes[f"blocks.{i}.out.weight"] = (WIDTH, 10)
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def test_both_ways_is_the_identity(state):
  params = mapping.to_flax(RULES, state, ABSTRACT)
  back = mapping.to_torch(RULES, params)
  assert sorted(back) == sorted(state)
  for name, tensor in state.items():
    np.testing.assert_array_equal(back[name], tensor)


def test_each_transform_computes_the_same_function(state):
  params = mapping.to_flax(RULES, state, ABSTRACT)
  x = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
  for i in range(DEPTH):
    q = np.einsum("d,dnk->nk", x, params["layers"]["q"]["kernel"][i])
    q += params["layers"]["q"]["bias"][i]
    want = state[f"blocks.{i}.q.weight"] @ x + state[f"blocks.{i}.q.bias"]
    np.testing.assert_allclose(q.reshape(-1), want, rtol=1e-4)
    out = np.einsum("nk,nkd->d", q, params["layers"]["out"]["kernel"][i])
    want = state[f"blocks.{i}.out.weight"] @ want
    np.testing.assert_allclose(out, want, rtol=1e-4)
  patch = np.random.default_rng(2).normal(size=(2, 2, 3)).astype(np.float32)
  want = np.einsum("pqc,dcpq->d", patch, state["patch.weight"])
  got = patch.reshape(-1) @ params["patch"]["kernel"]
  np.testing.assert_allclose(got, want, rtol=1e-4)
  want = state["down.0.1.weight"].transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(params["down_0_1"]["kernel"], want)


def test_all_problems_are_raised_together(state):
  del state["blocks.1.q.bias"]
  state["patch.weight"] = np.zeros((WIDTH, 3, 2, 4), np.float32)
  state["surprise.weight"] = np.zeros(2, np.float32)
  with pytest.raises(ValueError) as caught:
    mapping.to_flax(RULES, state, ABSTRACT)
  message = str(caught.value)
  assert "3 problems" in message
  assert "missing: blocks.1.q.bias <-> layers/q/bias[1], shape (10,)" in message
  assert "wrong shape: patch.weight <-> patch/kernel" in message
  assert "got (4, 3, 2, 4), expected (4, 3, 2, 2)" in message
  assert "unexpected: surprise.weight, shape (2,)" in message


def test_a_transposed_square_count_does_not_pass(state):
  """As many numbers, in another shape, is still wrong."""
  state["blocks.0.q.weight"] = np.zeros((WIDTH, 10), np.float32)
  with pytest.raises(ValueError, match=r"got \(4, 10\), expected \(10, 4\)"):
    mapping.to_flax(RULES, state, ABSTRACT)


def test_ignored_tensors_are_checked(state):
  state["decoder.x"] = np.ones(3, np.float32)
  state["buffer"] = np.zeros(2, np.float32)
  mapping.to_flax(RULES, state, ABSTRACT)
  state["buffer"] = np.ones(2, np.float32)
  with pytest.raises(ValueError, match="buffer: expected zeros, got"):
    mapping.to_flax(RULES, state, ABSTRACT)


def test_tied_tensors_may_carry_either_name_but_not_disagree(state):
  table = state.pop("emb.weight")
  params = mapping.to_flax(RULES, {**state, "tied.weight": table}, ABSTRACT)
  np.testing.assert_array_equal(params["embed"]["table"], table)
  both = {**state, "emb.weight": table, "tied.weight": table + 1}
  with pytest.raises(ValueError, match=r"differ: emb\.weight, tied\.weight"):
    mapping.to_flax(RULES, both, ABSTRACT)


def test_a_leaf_needs_exactly_one_rule(state):
  extra = {**ABSTRACT, "new": {"kernel": _leaf(2)}}
  with pytest.raises(ValueError, match=r"new/kernel: expected one rule, got 0"):
    mapping.to_flax(RULES, state, extra)
  twice = [*RULES, mapping.Rule("other.weight", "embed/table")]
  with pytest.raises(ValueError, match="embed/table: expected one rule, got 2"):
    mapping.to_flax(twice, state, ABSTRACT)


def test_half_precision_files_fill_the_dtype_of_the_model(state):
  half = {name: tensor.astype(np.float16) for name, tensor in state.items()}
  params = mapping.to_flax(RULES, half, ABSTRACT)
  assert params["embed"]["table"].dtype == np.float32


def test_single_file_and_shards_read_alike(tmp_path, state):
  tensors.save(tmp_path / "single", "model", state)
  names = sorted(state)
  shards = {"model-1.safetensors": names[:4], "model-2.safetensors": names[4:]}
  for shard, held in shards.items():
    tensors.save(tmp_path, shard.split(".")[0], {n: state[n] for n in held})
  weight_map = {n: shard for shard, held in shards.items() for n in held}
  index = tmp_path / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": weight_map}))
  single = tensors.Tensors(tmp_path / "single", "model")
  sharded = tensors.Tensors(tmp_path, "model")
  assert list(single) == list(sharded) == names
  for name in names:
    np.testing.assert_array_equal(single[name], state[name])
    np.testing.assert_array_equal(sharded[name], state[name])

  weight_map["lost.weight"] = "model-1.safetensors"
  index.write_text(json.dumps({"weight_map": weight_map}))
  with pytest.raises(ValueError, match=r"model-1\.safetensors lacks 'lost"):
    tensors.Tensors(tmp_path, "model")
  (tmp_path / "model-2.safetensors").write_bytes(b"damaged")
  with pytest.raises(ValueError, match=r"Cannot read .*model-2\.safetensors"):
    tensors.Tensors(tmp_path, "model")


def test_a_folder_without_weights_says_what_it_holds(tmp_path):
  (tmp_path / "pytorch_model.bin").write_bytes(b"")
  with pytest.raises(ValueError, match=r"found \['pytorch_model\.bin'\]"):
    tensors.Tensors(tmp_path, "model")
