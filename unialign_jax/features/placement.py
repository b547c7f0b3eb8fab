"""Frozen parameters, and batches, over the devices of this host.

One mesh axis over the local devices carries both. A batch is always spread.
Parameters are repeated (the VAE: 0.17 GB in bfloat16) or, for T5, cut by
`T5_TABLE`: of T5-XXL's 4.76 B parameters, 9.5 GB in bfloat16, each of eight
devices holds 1.2 GB. Each kernel is gathered when its turn comes and dropped
after it (84 MB at most), so that a device works on whole layers and on its own
examples alone. The traffic is one copy of all layers to every device a call,
whatever the batch: large batches make it cheap.
"""

import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np

AXIS = "local"

# Parameter of `models/t5.py` (whole name) -> the dimension that is cut, None
# for none. Layers are stacked along dimension 0, over which the scan runs.
T5_TABLE = (
  (r"token_embed/embedding", 1),  # its width: a lookup sums over no devices
  (r"relative_bias", None),
  (r"layers/attention/[qkv]/kernel", 1),
  (r"layers/attention/o/kernel", 3),
  (r"layers/mlp/wi(_[01])?/kernel", 2),
  (r"layers/mlp/wo/kernel", 1),
  (r"(layers/)?\w+_norm/scale", None),
)


def local_mesh() -> jax.sharding.Mesh:
  """All devices of this host along one axis."""
  return jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))


def repeated(params: Any) -> Any:
  """Host parameters, whole on every local device."""
  return jax.device_put(params, jax.NamedSharding(local_mesh(), jax.P()))


def shared(params: Any) -> Any:
  """Host parameters of a T5, cut by `T5_TABLE` over the local devices."""
  return jax.device_put(params, t5_shardings(params, local_mesh(), AXIS))


def t5_shardings(params: Any, mesh: jax.sharding.Mesh, axis: str) -> Any:
  """`T5_TABLE` for a tree of parameters, real or abstract.

  Args:
    params: of a T5.
    mesh: that they go to.
    axis: of the mesh, along which they are cut.

  Raises:
    ValueError: as `t5_spec`.
  """
  leaves = flax.traverse_util.flatten_dict(params, sep="/")
  cut = {
    name: jax.NamedSharding(
      mesh, t5_spec(name, leaf.shape, mesh.shape[axis], axis)
    )
    for name, leaf in leaves.items()
  }
  return flax.traverse_util.unflatten_dict(cut, sep="/")


def t5_spec(name: str, shape: tuple[int, ...], shares: int, axis: str) -> jax.P:
  """How one parameter of a T5 is cut; whole where `shares` does not divide it.

  Args:
    name: its path, joined by "/".
    shape: of the parameter.
    shares: devices along `axis`.
    axis: of the mesh.

  Raises:
    ValueError: not one row of `T5_TABLE` for this name.
  """
  rows = [cut for pattern, cut in T5_TABLE if re.fullmatch(pattern, name)]
  if len(rows) != 1:
    raise ValueError(
      f"placement.T5_TABLE has {len(rows)} rows for {name} {shape}, expected"
      " one; add it to the table."
    )
  (cut,) = rows
  if cut is None or shape[cut] % shares:
    return jax.P()
  return jax.P(*(axis if i == cut else None for i in range(len(shape))))


def keep_apart(
  function: Callable[[Any, jax.Array], Any], examples: jax.NamedSharding
) -> Callable[[Any, jax.Array], Any]:
  """`function` of a Flax module, with the examples where they are throughout.

  Parameters come to the examples, as this module's head tells. Left to itself,
  the partitioner takes the examples of all devices to each part of a layer.

  Args:
    function: (parameters, batch) -> outputs, all with examples leading.
    examples: how the leading dimension is spread.
  """

  def keep(
    call: Callable[..., Any], args: Any, kwargs: Any, context: Any
  ) -> Any:
    result = call(*args, **kwargs)
    if isinstance(context.module, (nn.DenseGeneral, nn.Embed)):
      result = jax.lax.with_sharding_constraint(result, examples)
    return result

  def kept(params: Any, batch: jax.Array) -> Any:
    with nn.intercept_methods(keep):
      return function(params, batch)

  return kept


def in_batches(
  function: Callable[[Any, jax.Array], Any],
  params: Any,
  examples: np.ndarray,
  batch_size: int,
) -> Any:
  """`function(params, batch)` over all examples; few batch shapes, so few jits.

  Batches have `batch_size` examples, or for fewer examples the next power of
  two, rounded up to a multiple of the devices that `params` lie on.

  Raises:
    ValueError: no examples.
  """
  if not len(examples):
    raise ValueError("An encoder got an empty batch, expected >= 1 example.")
  mesh = jax.tree.leaves(params)[0].sharding.mesh
  size = min(batch_size, 1 << (len(examples) - 1).bit_length())
  size = -(-size // mesh.size) * mesh.size
  spread = jax.NamedSharding(mesh, jax.P(AXIS))
  outputs = []
  for start in range(0, len(examples), size):
    chunk = examples[start : start + size]
    filler = np.repeat(chunk[-1:], size - len(chunk), axis=0)
    batch = jax.device_put(np.concatenate([chunk, filler]), spread)
    outputs.append(jax.device_get(function(params, batch)))
  return jax.tree.map(
    lambda *parts: np.concatenate(parts)[: len(examples)], *outputs
  )
