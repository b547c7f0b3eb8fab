"""UniAlignment (arXiv 2509.23760) in JAX.

    import unialign_jax as ua
    pipe = ua.Pipeline.load("runs/shapes/run")
    pipe.generate("a red circle", n=4)

The names below are imported when they are first used, so that importing the
package costs nothing.
"""

import importlib
from typing import Any

_NAMES = {
  "Pipeline": "unialign_jax.pipeline",
  "load": "unialign_jax.use.loading",
  "MMDiT": "unialign_jax.models.mmdit",
  "MMDiTConfig": "unialign_jax.models.mmdit",
}
__all__ = ["MMDiT", "MMDiTConfig", "Pipeline", "load"]


def __getattr__(name: str) -> Any:
  if name not in _NAMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *_NAMES})
