"""Products in int8 or fp8 for sampling, by `qwix` (extra `quantize`).

    kernel ~ q_kernel s_kernel     a scale an output channel, once, at loading
    input  ~ q_input  s_input      a scale a token, in each product
    output = (q_input q_kernel) s_input s_kernel

The kernels of `TABLE` lie on the devices as `q_kernel` and `s_kernel`; where
the row says so, the product itself is one of two int8 (or fp8) matrices. What
is left out, and what it costs, is measured in docs/precision.md.

Networks know nothing of it: `applied` takes over the dense layers whose kernel
`place` has quantised. The interception that `qwix` itself has (`PtqProvider`)
does not reach the kernels here, which are stacked for a scan.
"""

import functools
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

# What may be asked for -> the type of the values.
TYPES = {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}
# The largest becomes 127. With `qwix`'s own 127.5 it stands on the edge between
# two values, and the last bit of its scale decides: other on another mesh.
_CALIBRATION = {jnp.int8: f"absmax,{127.5 / 127}", jnp.float8_e4m3fn: "absmax"}


class Row(NamedTuple):
  """How the kernels of some modules are quantised.

  Attributes:
    pattern: of the module's whole name.
    dims: a letter a dimension of the kernel: L of the layer, I of what meets
      the input, O of the output.
    inputs: whether the input is quantised too, so that both matrices of the
      product are. Otherwise the kernel is held in int8, whatever is asked for:
      fp8 takes as many bytes and errs three times as much.
  """

  pattern: str
  dims: str
  inputs: bool


_STREAM = r"(dual_)?blocks/(image|text)"
TABLE = (
  Row(rf"{_STREAM}(/attn2)?/[qkv]", "LIOO", True),
  Row(rf"{_STREAM}(/attn2)?/out", "LIIO", True),
  Row(rf"{_STREAM}/(mlp_in|mlp_out|modulation)", "LIO", True),
  # T5: its activations have outliers, which a scale a token would follow.
  Row(r"layers/attention/[qkv]", "LIOO", False),
  Row(r"layers/attention/o", "LIIO", False),
  Row(r"layers/mlp/w(o|i|i_0|i_1)", "LIO", False),
)


@flax.struct.dataclass
class Kernel:
  """Stands where a kernel stood in a tree of parameters.

  Attributes:
    array: `qwix.QArray` of the kernel's shape; its scale, float32, is 1 along
      the dimensions that meet the input.
    num_in: how many those are.
    inputs: as `Row` has it.
  """

  array: Any
  num_in: int = flax.struct.field(pytree_node=False)
  inputs: bool = flax.struct.field(pytree_node=False)


def check(quantize: str | None) -> None:
  """Refuses what cannot be had.

  Raises:
    ValueError: another name than those of `TYPES`, or no `qwix`.
  """
  if quantize is None:
    return
  if quantize not in TYPES:
    raise ValueError(
      f"quantize: got {quantize!r}, expected one of {tuple(TYPES)} or None."
    )
  try:
    import qwix  # noqa: F401, the import is the question
  except ImportError as error:
    raise ValueError(
      f"quantize: got {quantize!r} without the package qwix ({error}); install"
      " the extra `quantize`: pip install 'unialign_jax[quantize]'."
    ) from error


def place(
  params: Any,
  shardings: Any,
  quantize: str | None,
  table: tuple[Row, ...] = TABLE,
) -> Any:
  """Parameters on their devices, the kernels of the table quantised there.

  One after the other, so that the devices never hold all of them in full.

  Args:
    params: tree of arrays.
    shardings: a `jax.NamedSharding` for each.
    quantize: one of `TYPES`; None for the parameters as they are.
    table: of the kernels.
  """

  def one(path: Any, leaf: Any, sharding: jax.NamedSharding) -> Any:
    placed = jax.device_put(leaf, sharding)
    row = _row(path, table) if quantize else None
    if row is None:
      return placed
    qtype = TYPES[quantize] if row.inputs else jnp.int8
    make = functools.partial(_quantised, row=row, qtype=qtype)
    shapes = jax.eval_shape(make, placed)
    places = jax.tree.map(lambda part: _like(sharding, part.shape), shapes)
    return jax.jit(make, out_shardings=places)(placed)

  return jax.tree_util.tree_map_with_path(one, params, shardings)


def applied(
  apply: Callable[..., Any], quantize: str | None
) -> Callable[..., Any]:
  """`apply` of a Flax module, for parameters of `place`."""
  if quantize is None:
    return apply

  def call(*args: Any, **kwargs: Any) -> Any:
    with nn.intercept_methods(_instead_of_dense):
      return apply(*args, **kwargs)

  return call


def _row(path: Any, table: tuple[Row, ...]) -> Row | None:
  name = "/".join(key.key for key in path)
  rows = (r for r in table if re.fullmatch(f"{r.pattern}/kernel", name))
  return next(rows, None)


def _quantised(kernel: jax.Array, row: Row, qtype: Any) -> Kernel:
  kept = [i for i, dim in enumerate(row.dims) if dim != "I"]
  num_in = row.dims.count("I")
  return Kernel(_rounded(kernel, kept, qtype), num_in, row.inputs)


def _rounded(x: jax.Array, kept: Sequence[int], qtype: Any) -> Any:
  """`qwix.QArray` with a scale for each index of the dimensions `kept`.

  Scales are float32: in bfloat16 sums would be rounded three times.
  """
  import qwix

  return qwix.quantize(
    x.astype(jnp.float32),
    qtype,
    channelwise_axes=kept,
    calibration_method=_CALIBRATION[qtype],
  )


def _like(
  sharding: jax.NamedSharding, shape: tuple[int, ...]
) -> jax.NamedSharding:
  """A kernel's sharding for its values or its scales.

  Along what meets the input there is one scale, which cannot be cut.
  """
  spec = (axis if n > 1 else None for n, axis in zip(shape, sharding.spec))
  return jax.NamedSharding(sharding.mesh, jax.P(*spec))


def _instead_of_dense(
  call: Callable[..., Any], args: Any, kwargs: Any, context: Any
) -> Any:
  """The interceptor of `nn.intercept_methods`."""
  module = context.module
  if isinstance(module, nn.Dense | nn.DenseGeneral):
    kernel = module.get_variable("params", "kernel")
    if isinstance(kernel, Kernel):
      return _dense(*args, kernel, module)
  return call(*args, **kwargs)


def _dense(x: jax.Array, kernel: Kernel, module: nn.Module) -> jax.Array:
  """A dense layer of the last dimensions of `x`, rounded once, at the end."""
  out = _product(x.astype(module.dtype), kernel)
  bias = module.get_variable("params", "bias")
  if bias is not None:
    bias = bias.astype(jnp.float32)
    out += bias.reshape((1,) * (out.ndim - bias.ndim) + bias.shape)
  return out.astype(module.dtype)


def _product(x: jax.Array, kernel: Kernel) -> jax.Array:
  """Input times kernel, float32."""
  import qwix

  num_rows = x.ndim - kernel.num_in
  meet = (range(num_rows, x.ndim), range(kernel.num_in))
  dims = (meet, ((), ()))
  if not kernel.inputs:
    full = qwix.dequantize(kernel.array).astype(x.dtype)
    return jax.lax.dot_general(
      x, full, dims, preferred_element_type=jnp.float32
    )
  low = _rounded(x, range(num_rows), kernel.array.qtype)
  with jax.numpy_dtype_promotion("standard"):  # int32 times float32
    return qwix.dot_general(low, kernel.array, dims)
