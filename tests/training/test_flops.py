"""The formula against what XLA counts in the traced network."""

import jax
import jax.numpy as jnp
import pytest

from unialign_jax.models import mmdit
from unialign_jax.training import flops

B, GRID, L = 2, 16, 32


def _counted(config: mmdit.MMDiTConfig) -> float:
  """XLA's FLOPs of one example; no head runs."""
  model = mmdit.MMDiT(config)
  inputs = (
    jax.ShapeDtypeStruct((B, GRID, GRID, config.in_channels), jnp.float32),
    jax.ShapeDtypeStruct((B, L, config.text_dim), jnp.float32),
    jax.ShapeDtypeStruct((B,), jnp.float32),
  )
  variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)

  def run(variables, *inputs):
    return model.apply(variables, *inputs, heads=("image_out", "text_out"))

  lowered = jax.jit(run).lower(variables, *inputs)
  return lowered.cost_analysis()["flops"] / B


def test_a_dual_block_counts_its_second_attention():
  tokens = (GRID // 2) ** 2

  def both(dual_depth: int) -> tuple[float, float]:
    config = mmdit.MMDiTConfig(
      width=512,
      depth=2,
      num_heads=4,
      text_dim=16,
      align_depth=1,
      dual_attention_depth=dual_depth,
      scan_layers=False,
      pos_embed_size=16,
      pos_embed_base=16,
    )
    return _counted(config), flops.forward(config, tokens, L)

  (counted, formula), (counted_dual, formula_dual) = both(0), both(2)
  assert formula == pytest.approx(counted, rel=0.03)
  assert formula_dual == pytest.approx(counted_dual, rel=0.03)
  extra = counted_dual - counted
  assert formula_dual - formula == pytest.approx(extra, rel=0.03)
