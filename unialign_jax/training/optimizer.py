"""AdamW with warm-up, clipping and freezing by parameter name."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ("constant", "cosine")
WORKING_DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """Documented in `configs/base.py`."""

  learning_rate: float = 3e-5
  warmup_steps: int = 2000
  schedule: str = "constant"
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  weight_decay: float = 1e-2
  clip_norm: float = 2.0
  ema_decay: float = 0.9995
  trainable: tuple[str, ...] = (".*",)
  working_dtype: str = "float32"

  def __post_init__(self) -> None:
    for name, known in (
      ("schedule", SCHEDULES),
      ("working_dtype", WORKING_DTYPES),
    ):
      if (value := getattr(self, name)) not in known:
        raise ValueError(
          f"config.optimizer.{name}: got {value!r}, expected one of {known}."
        )
    if not 0 <= self.ema_decay < 1:
      raise ValueError(
        f"config.optimizer.ema_decay: got {self.ema_decay}, expected 0 <="
        " decay < 1 (0.9995; 0 makes the average follow the parameters)."
      )
    if self.clip_norm <= 0 or self.learning_rate <= 0 or self.warmup_steps < 0:
      raise ValueError(
        f"config.optimizer: got clip_norm {self.clip_norm}, learning_rate"
        f" {self.learning_rate}, warmup_steps {self.warmup_steps}; expected"
        " the first two > 0 and warmup_steps >= 0."
      )


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
  """Linear warm-up, then constant (the paper) or a cosine to zero at `steps`.

  Raises:
    ValueError: where a cosine has no steps left after the warm-up.
  """
  if config.schedule == "cosine" and steps <= config.warmup_steps:
    raise ValueError(
      f"config.train.steps: got {steps}, expected more than"
      f" config.optimizer.warmup_steps = {config.warmup_steps} for a cosine."
    )

  def schedule(step: jax.Array) -> jax.Array:
    step = jnp.asarray(step, jnp.float32)
    rate = config.learning_rate
    if config.warmup_steps:
      rate *= jnp.minimum((step + 1.0) / config.warmup_steps, 1.0)
    if config.schedule == "cosine":
      done = (step - config.warmup_steps) / (steps - config.warmup_steps)
      rate *= 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(done, 0.0, 1.0)))
    return jnp.asarray(rate, jnp.float32)

  return schedule


def names(params: Any) -> Any:
  """The tree with each leaf replaced by its path, such as `blocks/image/q`."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: "/".join(key.key for key in path), params
  )


def trainable_mask(params: Any, patterns: tuple[str, ...]) -> Any:
  """True where a whole parameter path matches one of the patterns.

  Raises:
    ValueError: for a pattern that matches nothing, or when none is trained.
  """
  paths = names(params)
  for pattern in patterns:
    if not any(re.fullmatch(pattern, p) for p in jax.tree.leaves(paths)):
      raise ValueError(
        f"config.optimizer.trainable: pattern {pattern!r} matches no"
        f" parameter; expected names such as"
        f" {sorted(jax.tree.leaves(paths))[:3]}."
      )
  if not patterns:
    raise ValueError(
      "config.optimizer.trainable: got no pattern, expected at least one;"
      ' (".*",) trains everything.'
    )
  return jax.tree.map(
    lambda p: any(re.fullmatch(pattern, p) for pattern in patterns), paths
  )


def working_copy(params: Any, config: OptimizerConfig) -> Any:
  """What the passes read and gradients are taken of; `params` stay masters.

  In bfloat16 a gradient has half the bytes, on its way between devices too.
  """
  return jax.tree.map(lambda p: p.astype(config.working_dtype), params)


def make(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
  """Clip by global norm, then AdamW; frozen parameters keep no moments.

  The norm is that of the trained parameters' gradients.
  """
  adamw = optax.adamw(
    learning_rate(config, steps),
    b1=config.b1,
    b2=config.b2,
    eps=config.eps,
    weight_decay=config.weight_decay,
  )
  train = optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw)

  def labels(params: Any) -> Any:
    mask = trainable_mask(params, config.trainable)
    return jax.tree.map(lambda m: "train" if m else "freeze", mask)

  whole = optax.multi_transform(
    {"train": train, "freeze": optax.set_to_zero()}, labels
  )

  def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    # optax raises a float to an int32 count, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
      return whole.update(grads, state, params)

  return optax.GradientTransformation(whole.init, update)
