"""Parameters of equal blocks: stacked along a first axis, or a tree a layer."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

# Where the network keeps its stacks, in the order of their blocks.
NAMES = ("dual_blocks", "blocks")


def init(key: jax.Array, block: nn.Module, depth: int, inputs: tuple) -> Any:
  """Fresh parameters of `depth` equal blocks, stacked.

  Args:
    key: of which each block has its own.
    block: the module.
    depth: of the stack.
    inputs: what a block is called with.
  """

  def one(k: jax.Array) -> Any:
    return block.init(k, *inputs)["params"]

  return jax.vmap(one)(jax.random.split(key, depth))


def rounded(stacked: Any, dtype: jnp.dtype) -> Any:
  """Dense layers' parameters in the dtype in which these take them.

  They would round by themselves, but in each layer of each pass, forwards and
  backwards, after a scan has copied the layer's float32 out of the stack.
  """

  def one(path: tuple, leaf: jax.Array) -> jax.Array:
    # A kernel that use/quantise.py made has parts, which stay.
    is_dense = getattr(path[-1], "key", None) in ("kernel", "bias")
    return leaf.astype(dtype) if is_dense else leaf

  return jax.tree_util.tree_map_with_path(one, stacked)


def unstack(stacked: Any) -> tuple[Any, ...]:
  """One tree a layer; what is that already stays.

  The gradient of `unstack` is one `stack`; that of as many slices would be a
  sum over the whole stack for each layer.
  """
  if isinstance(stacked, tuple):
    return stacked
  leaves, structure = jax.tree.flatten(stacked)
  return tuple(structure.unflatten(x) for x in zip(*map(jnp.unstack, leaves)))


@jax.jit
def by_layer(params: Mapping[str, Any]) -> dict[str, Any]:
  """A network's parameters with `unstack` of its stacks.

  For a network with `scan_layers = False` that is called in a loop: there the
  layers would be cut out of the stack in every round.
  """
  return {k: unstack(v) if k in NAMES else v for k, v in params.items()}
