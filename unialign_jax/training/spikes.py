"""Loss spikes: what a loss may be at most, by the recent ones of its source.

    limit = median + factor * sigma
    sigma = 1.4826 * median(|losses - median|)

Losses of tasks, and of data sets of one task, lie apart by more than they
vary, so every source of `data.sources` has a window of its own. Median and
deviation are robust: spikes in the window do not raise the limit. They do go
into it, so that a lasting change of level is a spike for half a window only.

All of it is part of the train state, at one size whatever the config says: a
run may be continued with another window, factor or list of sources.
"""

import dataclasses
import zlib
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp

MAX_SOURCES = 64
MAX_WINDOW = 256
# Of the median absolute deviation, to the deviation of a normal distribution.
_TO_SIGMA = 1.4826
# Of the median: what the deviation is at least, or equal losses had none.
_LEAST_SIGMA = 1e-3


@flax.struct.dataclass
class Spikes:
  """What is known of each source; S = MAX_SOURCES, W = MAX_WINDOW."""

  count: jax.Array  # int32 [], steps whose update was dropped as a spike
  losses_SW: jax.Array  # fp32, finite total losses, latest first; then NaN
  owners_S: jax.Array  # uint32, hash of the source that a row belongs to


def fresh() -> Spikes:
  """Nothing is known; traceable."""
  return Spikes(
    count=jnp.zeros((), jnp.int32),
    losses_SW=jnp.full((MAX_SOURCES, MAX_WINDOW), jnp.nan, jnp.float32),
    owners_S=jnp.zeros((MAX_SOURCES,), jnp.uint32),
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
  """When a loss is a spike.

  Attributes:
    window: losses of a source that count; there is no limit before half of
      them are known.
    factor: robust standard deviations above the median.
    sources: names of the sources, by index. A row of another name, after a
      change of `data.sources`, begins anew.
  """

  window: int
  factor: float
  sources: Sequence[str]

  def judge(
    self, spikes: Spikes, source: jax.Array, loss: jax.Array
  ) -> tuple[jax.Array, jax.Array, Spikes]:
    """Whether a loss is a spike; a pure function.

    Args:
      spikes: before the step.
      source: int32 [], index of the source of the batch.
      loss: fp32 [], total loss of the batch; one that is not finite is no
        spike, and does not enter the window.

    Returns:
      bool [], the limit, fp32 [] (infinite while there is none), and what is
      known after the step.
    """
    hashes = [zlib.crc32(name.encode()) for name in self.sources]
    owner = jnp.asarray(hashes, jnp.uint32)[source]
    recent_W = jnp.where(
      spikes.owners_S[source] == owner, spikes.losses_SW[source], jnp.nan
    )
    most = limit(recent_W[: self.window], self.factor)
    is_finite = jnp.isfinite(loss)
    is_spike = is_finite & (loss > most)
    pushed_W = jnp.concatenate([loss[None], recent_W[:-1]])
    after = Spikes(
      count=spikes.count + is_spike.astype(jnp.int32),
      losses_SW=spikes.losses_SW.at[source].set(
        jnp.where(is_finite, pushed_W, recent_W)
      ),
      owners_S=spikes.owners_S.at[source].set(owner),
    )
    return is_spike, most, after


def limit(losses_W: jax.Array, factor: float) -> jax.Array:
  """What the next loss may be at most.

  Args:
    losses_W: fp32, NaN where there is none yet.
    factor: robust standard deviations above the median.

  Returns:
    fp32 []; infinite where less than half of the losses are there.
  """
  median = _median(losses_W)
  sigma = jnp.maximum(
    _TO_SIGMA * _median(jnp.abs(losses_W - median)),
    _LEAST_SIGMA * jnp.abs(median),
  )
  known = jnp.sum(~jnp.isnan(losses_W))
  is_enough = 2 * known >= losses_W.size
  return jnp.where(is_enough, median + factor * sigma, jnp.inf)


def _median(values_W: jax.Array) -> jax.Array:
  """Of those that are not NaN; NaN where all are."""
  known = jnp.sum(~jnp.isnan(values_W))
  ordered_W = jnp.sort(values_W)  # NaN comes last
  return (ordered_W[(known - 1) // 2] + ordered_W[known // 2]) / 2
