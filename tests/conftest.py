"""Strict JAX on eight virtual CPU devices for every test."""

import os

# Also for the commands that tests start; a TPU compiler alone is no TPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Several of its processes compile here, none has a TPU to itself.
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
# Compilation is most of the time, and LLVM's optimisations half of that.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
