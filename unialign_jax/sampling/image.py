"""Text to image, and every image task with condition images: one sampler.

Editing, perception and personalisation are text-to-image with `cond_BNHWC`;
nothing here knows the task. The loop over the steps is one `lax.scan`, so a
jitted caller runs noise to latents without the host:

    sample = jax.jit(functools.partial(
      sample_images, model.apply, steps=28, guidance=7.0, shift=3.0))
    noise_BHWC = noise(jax.random.split(key, 8), (64, 64, 16))
    latents_BHWC = sample(params, text_BLE, null_BLE, noise_BHWC)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from unialign_jax.diffusion import flow
from unialign_jax.sampling import guidance as guidance_lib


def latents_shape(
  batch: int, height: int, width: int, *, factor: int, channels: int, patch: int
) -> tuple[int, int, int, int]:
  """Shape of the latents of `batch` pictures of height x width pixels.

  Args:
    batch: B.
    height: in pixels.
    width: in pixels.
    factor: pixels per latent along one side, 8 for SD3's VAE.
    channels: latent channels, 16 for SD3's VAE.
    patch: latents per image token along one side.

  Raises:
    ValueError: for a size that latents and patches do not tile.
  """
  unit = factor * patch
  if height < unit or width < unit or height % unit or width % unit:
    raise ValueError(
      f"image size: got {height} x {width} pixels, expected multiples of"
      f" {unit} (VAE factor {factor} times patch size {patch})."
    )
  return batch, height // factor, width // factor, channels


def noise(keys_B: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
  """Standard normal [B, H, W, C] fp32; each picture from its own key alone.

  Args:
    keys_B: one a picture.
    shape: (H, W, C).
  """
  return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(
    keys_B
  )


def sample_images(
  model_apply: Callable[..., Any],
  params: Any,
  text_features: jax.Array,
  null_features: jax.Array | None,
  noise_BHWC: jax.Array,
  *,
  steps: int,
  shift: float,
  solver: str = "euler",
  **guided_by: Any,
) -> jax.Array:
  """Samples scaled latents from noise.

  Args:
    model_apply: `MMDiT(config).apply`.
    params: parameters of the network.
    text_features: [B, L, E] of the prompts or instructions.
    null_features: as `velocity` has it.
    noise_BHWC: standard normal; nothing else is random.
    steps: number of solver steps.
    shift: timestep shift, 1 for none.
    solver: one of `flow.SOLVERS`; see `flow.evaluations`.
    **guided_by: the other arguments of `velocity`.

  Returns:
    latents_BHWC at t = 0, fp32.

  Raises:
    ValueError: for settings out of range, or inputs that do not fit together.
  """
  velocity_fn = velocity(
    model_apply, params, text_features, null_features, **guided_by
  )
  if text_features.shape[0] != noise_BHWC.shape[0]:
    raise ValueError(
      f"noise_BHWC: got a batch of {noise_BHWC.shape[0]}, expected"
      f" {text_features.shape[0]}, one per row of text_features."
    )
  times_S = flow.timesteps(steps, shift)
  return flow.integrate(velocity_fn, noise_BHWC, times_S, solver=solver)


def velocity(
  model_apply: Callable[..., Any],
  params: Any,
  text_features: jax.Array,
  null_features: jax.Array | None,
  *,
  guidance: float,
  cond_BNHWC: jax.Array | None = None,
  guidance_rescale: float = 0.0,
  guidance_interval: tuple[float, float] = (0.0, 1.0),
  image_guidance: float | None = None,
) -> flow.VelocityFn:
  """The velocity that a solver follows, guidance included.

  With guidance, conditional and unconditional run as one batch of 2 B; the
  condition images go to both halves, as training never drops them. With
  `image_guidance` a third evaluation has neither text nor condition images,
  what training knows from text-to-image. Only arrays may be traced: all
  numbers and names are static.

  Args:
    model_apply: `MMDiT(config).apply`.
    params: parameters of the network.
    text_features: [B, L, E] of the prompts or instructions.
    null_features: [L, E], [1, L, E] or [B, L, E] of " " (or of negative
      prompts); may be None when guidance is 1.
    guidance: scale, 1 for none: then the batch is not doubled.
    cond_BNHWC: clean scaled latents of N condition images.
    guidance_rescale: factor of `guidance.rescale`, 0 for none.
    guidance_interval: times (low, high) at which guidance applies; elsewhere
      only the conditional half is computed.
    image_guidance: scale towards the condition images, Eq. 3 of guidance.py;
      None leaves them out of guidance.

  Raises:
    ValueError: as `sample_images`.
  """
  guidance_lib.check(guidance, guidance_rescale, guidance_interval)
  by_image = image_guidance is not None
  needs_null = guidance != 1.0 or by_image
  if null_features is None and needs_null:
    raise ValueError(
      'null_features: got None with guidance, expected the features of " "; or'
      " set guidance to 1 and image_guidance to None."
    )
  if by_image and (cond_BNHWC is None or image_guidance < 0):
    raise ValueError(
      f"image_guidance: got {image_guidance} with"
      f" {'no' if cond_BNHWC is None else 'some'} condition images, expected a"
      " scale >= 0 for a task that has condition images; or None."
    )

  def network(
    latents_BHWC: jax.Array,
    t: jax.Array,
    text_BLE: jax.Array,
    cond_BNHWC: jax.Array | None,
  ) -> jax.Array:
    t_B = jnp.full((1,), t, jnp.float32)  # one for all: one modulation
    out = model_apply(
      {"params": params},
      latents_BHWC,
      text_BLE,
      t_B,
      cond_BNHWC=cond_BNHWC,
      heads=("velocity",),
    )
    return out.velocity_BHWC.astype(jnp.float32)

  def plain(latents_BHWC: jax.Array, t: jax.Array) -> jax.Array:
    return network(latents_BHWC, t, text_features, cond_BNHWC)

  def guided(latents_BHWC: jax.Array, t: jax.Array) -> jax.Array:
    null = jnp.broadcast_to(null_features, text_features.shape)
    conditional, unconditional = guidance_lib.unpair(
      network(
        guidance_lib.pair(latents_BHWC, latents_BHWC),
        t,
        guidance_lib.pair(text_features, null.astype(text_features.dtype)),
        None
        if cond_BNHWC is None
        else guidance_lib.pair(cond_BNHWC, cond_BNHWC),
      )
    )
    if by_image:
      combined = guidance_lib.combine_both(
        conditional,
        unconditional,
        network(latents_BHWC, t, null.astype(text_features.dtype), None),
        guidance,
        image_guidance,
      )
    else:
      combined = guidance_lib.combine(conditional, unconditional, guidance)
    return guidance_lib.rescale(combined, conditional, guidance_rescale)

  def sometimes_guided(latents_BHWC: jax.Array, t: jax.Array) -> jax.Array:
    active = guidance_lib.is_active(t, guidance_interval)
    return jax.lax.cond(active, guided, plain, latents_BHWC, t)

  if not needs_null:
    return plain
  return guided if guidance_interval == (0.0, 1.0) else sometimes_guided
