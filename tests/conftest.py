"""Strict JAX on eight virtual CPU devices for every test."""

import os

# Also for the commands that tests start; a TPU compiler alone is no TPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
