"""The networks on a mesh, jitted: token ids in, latents or token ids out.

Each function compiles once for a batch size, a number of condition images and
settings; parameters are arguments and lie as `sharding.TABLE` says.
"""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unialign_jax import sharding
from unialign_jax.diffusion import flow
from unialign_jax.features import placement
from unialign_jax.models import mmdit
from unialign_jax.models import stacks
from unialign_jax.sampling import image as image_sampling
from unialign_jax.sampling import text as text_sampling
from unialign_jax.use import loading
from unialign_jax.use import quantise
from unialign_jax.use import settings as settings_lib


def local_mesh() -> jax.sharding.Mesh:
  """The devices of this host: each has all parameters, and its examples."""
  return sharding.make_mesh(-1, 1, 1, devices=jax.local_devices())


class Networks:
  """T5 and the MMDiT, placed.

  Args:
    loaded: a model.
    mesh: from `sharding.make_mesh`.

  Raises:
    ValueError: a mesh with other axes, or one that does not fit the network.
  """

  def __init__(self, loaded: loading.Loaded, mesh: jax.sharding.Mesh):
    if mesh.axis_names != sharding.AXES:
      raise ValueError(
        f"mesh: got axes {mesh.axis_names}, expected {sharding.AXES}; make it"
        " with unialign_jax.sharding.make_mesh."
      )
    # A scan copies each layer's weights in every step of the solver, and keeps
    # what the last layer computes for the text, which no picture needs. TPUs,
    # on which the loop has not been timed, compile the shorter program.
    with jax.set_mesh(mesh):
      scan = loaded.model.scan_layers and sharding.platform() == "tpu"
    self._model = mmdit.MMDiT(
      dataclasses.replace(loaded.model, scan_layers=scan)
    )
    self._text = loaded.text
    mode = loaded.quantize
    self._apply = quantise.applied(self._model.apply, mode)
    self._apply_text = quantise.applied(self._text.model.apply, mode)
    self._factor = loaded.image.config.downsampling
    self._examples = jax.NamedSharding(mesh, sharding.BATCH)
    self._everywhere = jax.NamedSharding(mesh, jax.P())
    specs = sharding.param_specs(loaded.params, mesh)
    shardings = jax.tree.map(lambda s: jax.NamedSharding(mesh, s), specs)
    self._params = quantise.place(loaded.params, shardings, mode)
    if not scan:
      self._params = stacks.by_layer(self._params)
    cut = placement.t5_shardings(loaded.text.params, mesh, "fsdp")
    self._text_params = quantise.place(loaded.text.params, cut, mode)
    jit = functools.partial(jax.jit, out_shardings=self._everywhere)
    self._encode = jit(self._encode_text)
    self._draw = jit(self._draw_latents, static_argnames="settings")
    self._advance = jit(
      self._advance_state, static_argnames=("settings", "to_the_end")
    )
    self._write = jit(self._write_tokens, static_argnames="settings")

  @property
  def shares(self) -> int:
    """Examples of a batch are spread over so many devices."""
    mesh = self._examples.mesh
    return mesh.shape["data"] * mesh.shape["fsdp"]

  @property
  def num_compiled(self) -> int:
    """Functions compiled so far, one a shape."""
    jitted = (self._encode, self._draw, self._advance, self._write)
    return sum(f._cache_size() for f in jitted)

  def encode(self, ids_BL: np.ndarray) -> np.ndarray:
    """Features [B, L, E] of token ids; B is a multiple of `shares`."""
    ids_BL = self._put(ids_BL)
    return jax.device_get(self._call(self._encode, self._text_params, ids_BL))

  def draw(
    self,
    text_BLE: np.ndarray,
    null_BLE: np.ndarray,
    seeds_B: np.ndarray,
    cond_BNHWC: np.ndarray | None,
    settings: settings_lib.ImageSettings,
  ) -> np.ndarray:
    """Latents [B, H, W, C] fp32; B is a multiple of `shares`."""
    drawn = self._call(
      self._draw,
      self._params,
      self._put(text_BLE),
      self._put(null_BLE),
      self._put(seeds_B),
      None if cond_BNHWC is None else self._put(cond_BNHWC),
      settings=settings,
    )
    return jax.device_get(drawn)

  def watch(
    self,
    text_BLE: np.ndarray,
    null_BLE: np.ndarray,
    seeds_B: np.ndarray,
    cond_BNHWC: np.ndarray | None,
    settings: settings_lib.ImageSettings,
    previews: int,
  ) -> Iterator[tuple[int, np.ndarray]]:
    """`draw` in up to `previews` stretches.

    Yields:
      The number of steps done, and the clean latents [B, H, W, C] that they
      imply; the last are those of `draw`.
    """
    text, null = self._put(text_BLE), self._put(null_BLE)
    cond = None if cond_BNHWC is None else self._put(cond_BNHWC)
    times_S = flow.timesteps(settings.steps, settings.shift)
    weights_S = flow.weights(times_S)
    state = flow.start(self._noise(self._put(seeds_B), settings.size))
    stretch = -(-settings.steps // previews)
    for done in range(0, settings.steps, stretch):
      stop = min(done + stretch, settings.steps)
      is_last = stop == settings.steps
      state = self._call(
        self._advance,
        self._params,
        state,
        text,
        null,
        cond,
        times_S[done : stop + 1],
        weights_S[done:stop],
        settings=settings,
        to_the_end=is_last,
      )
      shown = state.latents_BHWC if is_last else state.clean_BHWC
      yield stop, jax.device_get(shown)

  def write(
    self,
    latents_BHWC: np.ndarray,
    ids_BL: np.ndarray,
    is_given_BL: np.ndarray,
    seed: int,
    settings: settings_lib.TextSettings,
  ) -> np.ndarray:
    """Token ids [B, L] beside pictures; B is a multiple of `shares`."""
    written = self._call(
      self._write,
      self._params,
      self._text_params,
      self._put(latents_BHWC),
      self._put(ids_BL),
      self._put(is_given_BL),
      np.uint32(seed),
      settings=settings,
    )
    return jax.device_get(written)

  def _call(self, jitted: Callable[..., Any], *args: Any, **settings: Any):
    # Attention asks for the mesh: a kernel cannot be partitioned by XLA.
    with jax.set_mesh(self._examples.mesh):
      return jitted(*args, **settings)

  def _put(self, array: np.ndarray) -> jax.Array:
    return jax.device_put(array, self._examples)

  def _encode_text(self, text_params: Any, ids_BL: jax.Array) -> jax.Array:
    def apply(params: Any, ids_BL: jax.Array) -> jax.Array:
      return self._apply_text({"params": params}, ids_BL)

    return placement.keep_apart(apply, self._examples)(text_params, ids_BL)

  def _noise(self, seeds_B: jax.Array, size: int) -> jax.Array:
    """[B, H, W, C]; a picture does not depend on its neighbours."""
    config = self._model.config
    _, *shape = image_sampling.latents_shape(
      len(seeds_B),
      size,
      size,
      factor=self._factor,
      channels=config.in_channels,
      patch=config.patch_size,
    )
    return image_sampling.noise(jax.vmap(jax.random.key)(seeds_B), tuple(shape))

  def _draw_latents(
    self,
    params: Any,
    text_BLE: jax.Array,
    null_BLE: jax.Array,
    seeds_B: jax.Array,
    cond_BNHWC: jax.Array | None,
    *,
    settings: settings_lib.ImageSettings,
  ) -> jax.Array:
    return image_sampling.sample_images(
      self._apply,
      params,
      text_BLE,
      null_BLE,
      self._noise(seeds_B, settings.size),
      cond_BNHWC=cond_BNHWC,
      **settings.for_solver(),
      **settings.for_guidance(),
    )

  def _advance_state(
    self,
    params: Any,
    state: flow.State,
    text_BLE: jax.Array,
    null_BLE: jax.Array,
    cond_BNHWC: jax.Array | None,
    times_S: jax.Array,
    weights_S: jax.Array,
    *,
    settings: settings_lib.ImageSettings,
    to_the_end: bool,
  ) -> flow.State:
    velocity_fn = image_sampling.velocity(
      self._apply,
      params,
      text_BLE,
      null_BLE,
      cond_BNHWC=cond_BNHWC,
      **settings.for_guidance(),
    )
    return flow.advance(
      velocity_fn,
      state,
      times_S,
      weights_S,
      solver=settings.solver,
      to_the_end=to_the_end,
    )

  def _write_tokens(
    self,
    params: Any,
    text_params: Any,
    latents_BHWC: jax.Array,
    ids_BL: jax.Array,
    is_given_BL: jax.Array,
    seed: jax.Array,
    *,
    settings: settings_lib.TextSettings,
  ) -> jax.Array:
    return text_sampling.sample_text(
      self._apply,
      params,
      lambda ids_BL: self._encode_text(text_params, ids_BL),
      latents_BHWC,
      # The same for all: a text does not depend on its place in the batch.
      keys_B=jnp.broadcast_to(jax.random.key(seed), len(ids_BL)),
      prompt_ids_BL=ids_BL,
      prompt_mask_BL=is_given_BL,
      mask_id=self._text.mask_id,
      steps=settings.steps,
      schedule=settings.schedule,
      temperature=settings.temperature,
    )
