"""The mesh, and THE table that says where every parameter lives.

Four axes: `data` repeats everything, `fsdp` shares out parameters and batch,
`tensor` shares out attention heads and MLP columns, `sequence` shares out the
tokens of each example. EMA and optimizer state hold trees of the same names
and shapes, so the same table serves them.
"""

import math
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils

AXES = ("data", "fsdp", "tensor", "sequence")
# Examples are spread over both axes that do not split a single example.
BATCH = jax.P(("data", "fsdp"))
# Activations [B, T, ...] between the products.
TOKENS = jax.P(*BATCH, "sequence")

# Layers are stacked under these: their first axis is the layer and stays whole.
_STACK = r"(dual_)?blocks"
# Parameter name (whole, without the layer axis of a stack) -> one axis a
# dimension. A parameter matches exactly one row.
_STREAM = rf"{_STACK}/(image|text)"
_DENSE = (
  # (pattern of the module, kernel axes)
  # P*P*C, the narrow side of these two, is left whole.
  (r"patch_embed", (None, "fsdp")),
  (r"image_head/proj", ("fsdp", None)),
  (r"context_embed", ("fsdp", "tensor")),
  (r"time_embed/linear_[12]", ("fsdp", "tensor")),
  (rf"{_STREAM}/modulation", ("fsdp", "tensor")),
  (rf"{_STREAM}(/attn2)?/[qkv]", ("fsdp", "tensor", None)),  # D, heads, K
  (rf"{_STREAM}(/attn2)?/out", ("tensor", None, "fsdp")),  # heads, K, D
  (rf"{_STREAM}/mlp_in", ("fsdp", "tensor")),
  (rf"{_STREAM}/mlp_out", ("tensor", "fsdp")),
  (r"image_head/modulation", ("fsdp", "tensor")),
  (r"text_head/proj", ("fsdp", "tensor")),
  (r"align_(image|text)/fc_in", ("fsdp", "tensor")),
  # E belongs to the semantic encoder and may be odd: left whole.
  (r"align_(image|text)/fc_out", ("fsdp", None)),
)
_SMALL = (
  (r".*/bias", None),
  (r".*/[qk]_norm/scale", None),
  (r"null_image_embed", None),
)
TABLE = tuple((f"{p}/kernel", axes) for p, axes in _DENSE) + _SMALL


def make_mesh(
  data: int,
  fsdp: int,
  tensor: int,
  sequence: int = 1,
  *,
  devices: Sequence[Any] | None = None,
) -> jax.sharding.Mesh:
  """Arranges the devices; one size may be -1, what is left.

  Several slices are neighbours along `data`, the one axis that sends nothing
  but gradients: the network between slices is the slow one.

  Raises:
    ValueError: sizes that do not multiply to the number of devices, or slices
      that do not divide `data`.
  """
  devices = jax.devices() if devices is None else devices
  sizes = mesh_sizes(data, fsdp, tensor, sequence, num_devices=len(devices))
  types = (jax.sharding.AxisType.Auto,) * len(AXES)
  slices = _num_slices(devices)
  if slices == 1:
    return jax.make_mesh(sizes, AXES, devices=devices, axis_types=types)
  if sizes[0] % slices:
    raise ValueError(
      f"config.mesh.data: got {sizes[0]} for {slices} slices, expected a"
      " multiple of the slices: the other axes stay within one."
    )
  arranged = mesh_utils.create_hybrid_device_mesh(
    (sizes[0] // slices, *sizes[1:]),
    (slices, *(1 for _ in sizes[1:])),
    devices=devices,
  )
  return jax.sharding.Mesh(arranged, AXES, axis_types=types)


def _num_slices(devices: Sequence[Any]) -> int:
  """TPU slices; JAX counts each node of GPUs as a slice, which they are not."""
  if devices[0].platform != "tpu":
    return 1
  return len({getattr(device, "slice_index", 0) for device in devices})


def mesh_sizes(
  data: int, fsdp: int, tensor: int, sequence: int = 1, *, num_devices: int
) -> tuple[int, ...]:
  """Sizes of the axes, with what is left in place of a -1.

  Raises:
    ValueError: as `make_mesh`.
  """
  sizes = [data, fsdp, tensor, sequence]
  if -1 in sizes:
    rest = math.prod(s for s in sizes if s != -1)
    sizes[sizes.index(-1)] = max(num_devices // rest, 1)
  if math.prod(sizes) != num_devices:
    raise ValueError(
      f"config.mesh: got {' x '.join(AXES)} = {sizes}, expected a product of"
      f" {num_devices}, the number of devices; change one of them, or set it"
      " to -1."
    )
  return tuple(sizes)


def shares_out(shape: tuple[int, ...], spec: jax.P) -> bool:
  """Whether the mesh that is set divides an array of this shape like that."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return True
  for size, axes in zip(shape, spec):
    axes = (axes,) if isinstance(axes, str) else axes or ()
    if size % math.prod(mesh.shape[axis] for axis in axes):
      return False
  return True


def sequence_shares() -> int:
  """Into how many parts the mesh that is set splits a sequence."""
  mesh = jax.sharding.get_abstract_mesh()
  return 1 if mesh.empty else mesh.shape["sequence"]


def platform() -> str:
  """Of the mesh that is set, which need not be here: "cpu", "gpu" or "tpu"."""
  mesh = jax.sharding.get_abstract_mesh()
  device = None if mesh.empty else mesh.abstract_device
  found = device.platform if device else jax.default_backend()
  return "gpu" if found in ("cuda", "rocm") else found


def spread_tokens(x_BTD: jax.Array) -> jax.Array:
  """The same tokens, spread over the mesh that is set.

  Examples over BATCH, else the partitioner may take over how parameters are
  shared out: all examples on each device, a part of the width there, and a sum
  over devices after each product. Tokens over `sequence`, if it divides them.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or not shares_out(x_BTD.shape, BATCH):
    return x_BTD
  spec = TOKENS if shares_out(x_BTD.shape, TOKENS) else BATCH
  return jax.lax.with_sharding_constraint(x_BTD, spec)


def check_batch(mesh: jax.sharding.Mesh, batch: int, accumulation: int) -> None:
  """Refuses a batch that the mesh cannot share.

  Raises:
    ValueError: naming the keys.
  """
  shares = mesh.shape["data"] * mesh.shape["fsdp"]
  if batch % (shares * accumulation):
    raise ValueError(
      f"config.data.batch_size: got {batch}, expected a multiple of"
      f" {shares * accumulation}: mesh.data x mesh.fsdp = {shares} devices"
      f" times train.accumulation = {accumulation}."
    )


def param_specs(
  shapes: Mapping[str, Any], mesh: jax.sharding.Mesh
) -> Mapping[str, Any]:
  """A PartitionSpec for every parameter.

  Args:
    shapes: parameter tree of arrays or ShapeDtypeStructs.
    mesh: from `make_mesh`.

  Raises:
    ValueError: every parameter that no row, or more than one, matches, and
      every dimension that its axis does not divide, in one message.
  """
  problems: list[str] = []
  specs = jax.tree_util.tree_map_with_path(
    lambda path, leaf: _spec(_name(path), leaf.shape, mesh, problems), shapes
  )
  if problems:
    raise ValueError(
      "sharding.TABLE and the parameters do not fit:\n  "
      + "\n  ".join(problems)
    )
  return specs


def state_shardings(state: Any, mesh: jax.sharding.Mesh) -> Any:
  """Shardings for a whole train state (abstract or real).

  Parameters, EMA and moments by the table; everything else (counters, frozen
  features) is repeated on every device.
  """
  specs = param_specs(state.params, mesh)
  by_path = {
    jax.tree_util.keystr(path): spec
    for path, spec in jax.tree_util.tree_leaves_with_path(
      specs, is_leaf=lambda s: isinstance(s, jax.P)
    )
  }

  def place(path: Any, leaf: Any) -> jax.NamedSharding:
    # A moment's path ends in the path of its parameter.
    for start in range(len(path)):
      spec = by_path.get(jax.tree_util.keystr(path[start:]))
      if spec is not None and leaf.ndim >= len(spec):
        return jax.NamedSharding(mesh, spec)
    return jax.NamedSharding(mesh, jax.P())

  return jax.tree_util.tree_map_with_path(place, state)


def _name(path: Any) -> str:
  return "/".join(key.key for key in path)


def _spec(
  name: str,
  shape: tuple[int, ...],
  mesh: jax.sharding.Mesh,
  problems: list[str],
) -> jax.P:
  """The spec of one parameter; what is wrong goes to `problems`."""
  rows = [axes for pattern, axes in TABLE if re.fullmatch(pattern, name)]
  if len(rows) != 1:
    problems.append(f"{name} {shape}: {len(rows)} rows match, expected one")
    return jax.P()
  if rows[0] is None:
    return jax.P()
  is_stacked = re.match(f"{_STACK}/", name)
  axes = (None, *rows[0]) if is_stacked else rows[0]
  if len(axes) != len(shape):
    problems.append(f"{name} {shape}: its row has {len(axes)} dimensions")
    return jax.P()
  for size, axis in zip(shape, axes):
    if axis is not None and size % mesh.shape[axis]:
      problems.append(
        f"{name} {shape}: {size} is not a multiple of mesh.{axis} ="
        f" {mesh.shape[axis]}; change config.mesh or config.model"
      )
  return jax.P(*axes)
