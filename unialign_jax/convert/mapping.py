"""Moving weights between PyTorch names and Flax trees, by one table.

A table is a list of `Rule`s. Each pairs a pattern of PyTorch names with a
pattern of Flax paths and a `Transform` that knows both directions, so import
and export are the same loop run two ways and cannot drift apart. Nothing is
skipped in silence: what is missing, unexpected or of another shape is
collected and raised once, with the names on both sides.

Patterns hold `{i}`-like placeholders for numbers. A placeholder on both sides
pairs one PyTorch tensor with one Flax leaf. A placeholder on the PyTorch side
alone counts along the leading axis of the Flax leaf, where layers that run
under `nn.scan` are stacked.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import jax
import numpy as np

_PLACEHOLDER = re.compile(r"\{(\w)\}")


@dataclasses.dataclass(frozen=True)
class Transform:
  """A reversible change of layout, written with array methods only.

  Attributes:
    to_flax: (PyTorch array, Flax shape) -> Flax array.
    to_torch: Flax array -> PyTorch array. It also says, by shape inference,
      which PyTorch shape a Flax leaf expects.
  """

  to_flax: Callable[[Any, tuple[int, ...]], Any]
  to_torch: Callable[[Any], Any]


SAME = Transform(lambda x, shape: x, lambda x: x)
# [out] <-> [heads, width]: a bias whose Flax form keeps heads apart.
FLAT = Transform(
  lambda x, shape: x.reshape(shape), lambda x: x.reshape((x.size,))
)
# [out, in, h, w] <-> [h, w, in, out]
CONV = Transform(
  lambda x, shape: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
)


def linear(in_axes: int = 1) -> Transform:
  """`[out, in]` <-> `[*in, *out]`; `in_axes` leading Flax axes are inputs.

  `linear()` also serves query, key and value kernels `[in, heads, width]`;
  `linear(2)` an output kernel `[heads, width, out]`.
  """

  def to_torch(x: Any) -> Any:
    fan_in = int(np.prod(x.shape[:in_axes]))
    return x.reshape((fan_in, x.size // fan_in)).transpose(1, 0)

  return Transform(lambda x, shape: x.transpose(1, 0).reshape(shape), to_torch)


def patches(patch_size: int) -> Transform:
  """`[out, c, p, q]` <-> `[(p q c), out]`: a patch convolution as a matmul."""

  def to_torch(x: Any) -> Any:
    grid = x.reshape((patch_size, patch_size, -1, x.shape[-1]))
    return grid.transpose(3, 2, 0, 1)

  return Transform(
    lambda x, shape: x.transpose(2, 3, 1, 0).reshape(shape), to_torch
  )


@dataclasses.dataclass(frozen=True)
class Rule:
  """One line of a table.

  Attributes:
    torch: pattern of PyTorch names.
    flax: pattern of Flax paths, joined by "/".
    transform: the change of layout between them.
    aliases: other PyTorch names that may hold the very same tensor (tied
      weights). Import takes whichever exist and insists that they agree;
      export writes `torch` only.
    first: what a placeholder on the PyTorch side alone counts from, where
      layers of several stacks are numbered on.
  """

  torch: str
  flax: str
  transform: Transform = SAME
  aliases: tuple[str, ...] = ()
  first: int = 0


@dataclasses.dataclass(frozen=True)
class Ignored:
  """PyTorch names (regex, whole name) that have no Flax leaf, and why.

  Attributes:
    torch: the regex.
    reason: why nothing is lost; for the reader of the table.
    check: called with the name and the tensor; returns what is wrong with
      it, or "" if it may be ignored.
  """

  torch: str
  reason: str
  check: Callable[[str, np.ndarray], str] = lambda name, tensor: ""


@dataclasses.dataclass(frozen=True)
class _Pair:
  """One PyTorch tensor and its place in a Flax leaf."""

  names: tuple[str, ...]  # rule.torch first, then its aliases
  path: str
  index: int | None  # along the leading axis, if the leaf is stacked
  shape: tuple[int, ...]  # of the Flax leaf, without a stacked axis
  transform: Transform

  @property
  def torch_shape(self) -> tuple[int, ...]:
    abstract = jax.ShapeDtypeStruct(self.shape, np.float32)
    return jax.eval_shape(self.transform.to_torch, abstract).shape

  def __str__(self) -> str:
    at = "" if self.index is None else f"[{self.index}]"
    return f"{' or '.join(self.names)} <-> {self.path}{at}"


@functools.cache
def _path_regex(pattern: str) -> re.Pattern[str]:
  parts = _PLACEHOLDER.split(pattern)
  literal = [re.escape(part) for part in parts[::2]]
  groups = [rf"(?P<{name}>\d+)" for name in parts[1::2]] + [""]
  return re.compile("".join(a + b for a, b in zip(literal, groups)))


def _pairs(rule: Rule, path: str, leaf: Any) -> Iterator[_Pair]:
  """All PyTorch tensors that make up one Flax leaf."""
  indices = _path_regex(rule.flax).fullmatch(path).groupdict()
  patterns = (rule.torch, *rule.aliases)
  stacked = set(_PLACEHOLDER.findall(rule.torch)) - set(indices)
  if not stacked:
    names = tuple(pattern.format(**indices) for pattern in patterns)
    yield _Pair(names, path, None, leaf.shape, rule.transform)
    return
  (counter,) = stacked
  for i in range(leaf.shape[0]):
    numbers = {**indices, counter: rule.first + i}
    names = tuple(pattern.format(**numbers) for pattern in patterns)
    yield _Pair(names, path, i, leaf.shape[1:], rule.transform)


def _plan(
  rules: Sequence[Rule | Ignored], leaves: Mapping[str, Any]
) -> dict[str, list[_Pair]]:
  """For every Flax path, its PyTorch tensors.

  Raises:
    ValueError: a leaf that no rule, or more than one rule, describes.
  """
  plan, problems = {}, []
  for path, leaf in leaves.items():
    fitting = [
      rule
      for rule in rules
      if isinstance(rule, Rule) and _path_regex(rule.flax).fullmatch(path)
    ]
    if len(fitting) == 1:
      plan[path] = list(_pairs(fitting[0], path, leaf))
    else:
      names = [rule.flax for rule in fitting]
      problems.append(f"{path}: expected one rule, got {len(names)} {names}")
  _raise_all("The mapping table does not fit the Flax parameters", problems)
  return plan


def _raise_all(what: str, problems: Sequence[str]) -> None:
  if problems:
    listed = "\n  ".join(problems)
    raise ValueError(f"{what} ({len(problems)} problems):\n  {listed}")


def _fetch(
  pair: _Pair, state_dict: Mapping[str, Any], problems: list[str]
) -> np.ndarray | None:
  """The Flax form of one PyTorch tensor, or None and a problem noted."""
  present = [name for name in pair.names if name in state_dict]
  if not present:
    problems.append(f"missing: {pair}, shape {pair.torch_shape}")
    return None
  tensor = np.asarray(state_dict[present[0]])
  for alias in present[1:]:
    if not np.array_equal(tensor, state_dict[alias]):
      problems.append(f"tied tensors differ: {present[0]}, {alias}")
  if tensor.shape != pair.torch_shape:
    problems.append(
      f"wrong shape: {pair}: got {tensor.shape}, expected {pair.torch_shape}"
    )
    return None
  return pair.transform.to_flax(tensor, pair.shape)


def _leftovers(
  rules: Sequence[Rule | Ignored],
  state_dict: Mapping[str, Any],
  used: set[str],
) -> Iterator[str]:
  """What is wrong with the PyTorch tensors that no Flax leaf took."""
  ignored = [rule for rule in rules if isinstance(rule, Ignored)]
  for name in state_dict:
    if name in used:
      continue
    fitting = [rule for rule in ignored if re.fullmatch(rule.torch, name)]
    if not fitting:
      yield f"unexpected: {name}, shape {np.shape(state_dict[name])}"
    for rule in fitting:
      complaint = rule.check(name, state_dict[name])
      if complaint:
        yield f"{name}: {complaint}"


def to_flax(
  rules: Sequence[Rule | Ignored],
  state_dict: Mapping[str, Any],
  abstract_params: Any,
) -> dict[str, Any]:
  """PyTorch tensors -> a Flax parameter tree of numpy arrays.

  Args:
    rules: the table.
    state_dict: PyTorch names to numpy arrays; may be lazy.
    abstract_params: nested dict of arrays or `jax.ShapeDtypeStruct`s (from
      `jax.eval_shape`), giving the shapes and dtypes wanted.

  Returns:
    A nested dict like `abstract_params`, filled, each leaf in its dtype.

  Raises:
    ValueError: listing every missing, unexpected or misshapen tensor.
  """
  leaves = flax.traverse_util.flatten_dict(abstract_params, sep="/")
  filled: dict[str, Any] = {}
  problems: list[str] = []
  used: set[str] = set()
  for path, pairs in _plan(rules, leaves).items():
    filled[path] = np.empty(leaves[path].shape, leaves[path].dtype)
    for pair in pairs:
      used.update(pair.names)
      value = _fetch(pair, state_dict, problems)
      if value is not None:
        filled[path][... if pair.index is None else pair.index] = value
  problems.extend(_leftovers(rules, state_dict, used))
  _raise_all("The weights do not fit the model", problems)
  return flax.traverse_util.unflatten_dict(filled, sep="/")


def to_torch(
  rules: Sequence[Rule | Ignored], params: Any
) -> dict[str, np.ndarray]:
  """A Flax parameter tree -> PyTorch names and contiguous numpy arrays.

  Raises:
    ValueError: a leaf that the table does not describe exactly once.
  """
  leaves = flax.traverse_util.flatten_dict(params, sep="/")
  state_dict = {}
  for path, pairs in _plan(rules, leaves).items():
    leaf = np.asarray(leaves[path])
    for pair in pairs:
      part = leaf if pair.index is None else leaf[pair.index]
      tensor = np.ascontiguousarray(pair.transform.to_torch(part))
      state_dict[pair.names[0]] = tensor
  return state_dict
