"""The benchmarks by name; a module is imported when its benchmark is used."""

import difflib
import importlib

from unialign_jax.evals import benchmark

# "module:attribute" below this package.
_PLACES = {
  "shapes": "shapes.benchmark:BENCHMARK",
  "semgen": "semgen.benchmark:BENCHMARK",
  "geneval": "geneval.benchmark:BENCHMARK",
  "dpg": "dpg.benchmark:BENCHMARK",
  "gedit": "gedit.benchmark:BENCHMARK",
  "imgedit": "imgedit.benchmark:BENCHMARK",
}
NAMES = tuple(_PLACES)


def load(name: str) -> benchmark.Benchmark:
  """The benchmark of a name.

  Raises:
    ValueError: there is none.
  """
  if name not in _PLACES:
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ValueError(
      f"--benchmark: got {name!r}, expected one of {', '.join(NAMES)}{hint}"
    )
  module, _, attribute = _PLACES[name].partition(":")
  return getattr(
    importlib.import_module(f"unialign_jax.evals.{module}"), attribute
  )


def default_protocol(name: str) -> str | None:
  """The protocol of a benchmark's `results.json`; None where none is known.

  Args:
    name: of a benchmark, also of one that another program runs.
  """
  return load(name).known_protocols[0] if name in _PLACES else None
