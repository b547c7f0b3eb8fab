"""What lmms-eval reads of this package, by the entry point of setup.py.

It is called whenever lmms-eval starts, for whatever model: an exception here
would hide the plugins of others, and an import of JAX would slow all of them.
"""

from typing import Any


def manifest() -> Any:
  """A `ModelManifest`; the model itself is imported once it is asked for."""
  from lmms_eval.models import registry_v2

  return registry_v2.ModelManifest(
    model_id="unialign_jax",
    chat_class_path="unialign_jax.lmms.model.UniAlign",
  )
