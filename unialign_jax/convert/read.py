"""Published weights on this machine, one tensor in memory at a time.

Files are opened for each tensor anew: a file that stays mapped keeps every
page that was ever read, which for a whole checkpoint is all of it.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np
import safetensors

from unialign_jax.convert import tensors

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Streamed(Mapping[str, np.ndarray]):
  """Names -> numpy arrays; headers are read at once, tensors when asked for.

  Attributes:
    shapes: name -> shape, from the headers.
    dtypes: name -> "float32", "float16", "bfloat16", or another in the words
      of safetensors.
  """

  def __init__(self, weight_map: Mapping[str, pathlib.Path]):
    """Opens every file once.

    Args:
      weight_map: name -> the safetensors file that holds it.

    Raises:
      ValueError: all files that are missing, truncated or damaged, and all
        tensors that their file lacks.
    """
    self._files = dict(sorted(weight_map.items()))
    self.shapes: dict[str, tuple[int, ...]] = {}
    self.dtypes: dict[str, str] = {}
    problems, held = [], {}
    for path in sorted(set(self._files.values())):
      try:
        held[path] = _header(path)
      except ValueError as error:
        problems.append(str(error))
    for name, path in self._files.items():
      if path not in held:
        continue
      if name not in held[path]:
        problems.append(f"{path} lacks {name!r}, which the index promises")
        continue
      self.shapes[name], self.dtypes[name] = held[path][name]
    if problems:
      raise ValueError("; ".join(problems) + ". Download the model again.")

  def __getitem__(self, name: str) -> np.ndarray:
    path = self._files[name]
    try:
      with safetensors.safe_open(path, framework="numpy") as file:
        return file.get_tensor(name)
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as e:
      raise ValueError(f"cannot read {name!r} of {path}: {e}") from e

  def __contains__(self, name: object) -> bool:
    return name in self._files  # Mapping would read it

  def __iter__(self) -> Iterator[str]:
    return iter(self._files)

  def __len__(self) -> int:
    return len(self._files)

  def subset(self, names: Iterable[str]) -> "Streamed":
    """Some of them alone."""
    return Streamed({name: self._files[name] for name in names})


def _header(path: pathlib.Path) -> dict[str, tuple[tuple[int, ...], str]]:
  """Name -> shape and dtype; safetensors itself compares them with the size."""
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      names = file.keys()  # a method of the file, which is no mapping
      slices = {name: file.get_slice(name) for name in names}
      return {
        name: (tuple(s.get_shape()), _DTYPES.get(s.get_dtype(), s.get_dtype()))
        for name, s in slices.items()
      }
  except (OSError, safetensors.SafetensorError) as error:
    raise ValueError(f"cannot read {path} as safetensors: {error}") from error


def from_file(path: pathlib.Path) -> Streamed:
  """All tensors of one safetensors file.

  Raises:
    ValueError: missing, truncated or damaged.
  """
  try:
    names = list(_header(path))
  except ValueError as error:
    raise ValueError(f"{error}. Download it again.") from error
  return Streamed(dict.fromkeys(names, path))


def from_folder(folder: pathlib.Path, stem: str) -> Streamed:
  """`{stem}.safetensors`, or the shards that its index lists.

  Raises:
    ValueError: none there; missing, truncated or damaged ones.
  """
  if (folder / f"{stem}.safetensors").is_file():
    return from_file(folder / f"{stem}.safetensors")
  shards = tensors.read_index(folder / f"{stem}.safetensors.index.json")
  return Streamed({name: folder / file for name, file in shards.items()})


@dataclasses.dataclass(frozen=True)
class Derived:
  """A tensor made from one of another name.

  Attributes:
    source: the name.
    compute: what is done to it.
    shape: what that does to its shape.
  """

  source: str
  compute: Callable[[np.ndarray], np.ndarray] = lambda x: x
  shape: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda shape: shape


class View(Mapping[str, np.ndarray]):
  """Weights under other names; made when asked for.

  What no `Derived` reads keeps its name, so that nothing is lost from sight.
  """

  def __init__(
    self,
    weights: "Streamed | View",
    derived: Mapping[str, Derived],
  ):
    taken = {d.source for d in derived.values()}
    kept = {name: Derived(name) for name in weights if name not in taken}
    self._weights = weights
    self._derived = kept | dict(derived)
    self.shapes = {
      name: d.shape(weights.shapes[d.source])
      for name, d in self._derived.items()
    }
    self.dtypes = {
      name: weights.dtypes[d.source] for name, d in self._derived.items()
    }

  def __getitem__(self, name: str) -> np.ndarray:
    derived = self._derived[name]
    return derived.compute(self._weights[derived.source])

  def __contains__(self, name: object) -> bool:
    return name in self._derived

  def __iter__(self) -> Iterator[str]:
    return iter(self._derived)

  def __len__(self) -> int:
    return len(self._derived)


def common_dtype(weights: Streamed | View) -> str:
  """The dtype of most numbers: stray fp32 norms do not make a file fp32.

  Raises:
    ValueError: weights in another form, such as fp8.
  """
  counts: dict[str, int] = {}
  for name, dtype in weights.dtypes.items():
    counts[dtype] = counts.get(dtype, 0) + math.prod(weights.shapes[name])
  if others := sorted(set(counts) - set(_DTYPES.values())):
    raise ValueError(
      f"The weights are {others}, expected {sorted(_DTYPES.values())}; fetch"
      " the model in one of those."
    )
  return max(counts, key=lambda dtype: counts[dtype])
