"""The alignment losses, and the weighted sum of all four terms.

    L = w_flow L_flow + w_text L_text + w_cross L_cross + w_intr L_intr

which is the paper's Eq. 5. L_flow (Eq. 1) is `diffusion.flow.loss` and L_text
(Eq. 2) is `diffusion.masked.loss`. Every loss is pure, in fp32, and returns
one number per example, [B]; the mean over the batch and the weights live in
`combine` alone.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unialign_jax.diffusion import flow

CROSS_DIRECTIONS = ("both", "image_to_text")
INTRINSIC_FORMS = ("one_minus_cosine", "negative_cosine")
INTRINSIC_IMAGES = ("mean", "patches")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
  """Weights of the terms, and the choices on which the sources differ."""

  flow_weight: float = 1.0
  text_weight: float = 0.2
  cross_weight: float = 0.05
  intrinsic_weight: float = 0.1
  flow_space: str = "velocity"  # paper; "x0" in the authors' code
  cross_direction: str = "both"  # authors; "image_to_text" in the paper, Eq. 3
  cross_temperature: float = 0.07
  cross_group_size: int = 0  # 0: the global batch; authors: 4, a micro-batch
  intrinsic_form: str = "one_minus_cosine"  # paper: "negative_cosine", Eq. 4
  intrinsic_image: str = "mean"  # paper; "patches": token by token, as REPA
  text_rows: int = 0  # `diffusion/vocabulary.py`; 0: logits of all positions

  def __post_init__(self) -> None:
    for name, known in (
      ("flow_space", flow.SPACES),
      ("cross_direction", CROSS_DIRECTIONS),
      ("intrinsic_form", INTRINSIC_FORMS),
      ("intrinsic_image", INTRINSIC_IMAGES),
    ):
      _check_choice(f"config.loss.{name}", getattr(self, name), known)
    if self.text_rows < 0:
      raise ValueError(
        f"config.loss.text_rows: got {self.text_rows}, expected positions, or"
        " 0 for all at once."
      )
    if self.cross_temperature <= 0:
      raise ValueError(
        f"config.loss.cross_temperature: got {self.cross_temperature},"
        " expected > 0 (0.07 in the paper)."
      )
    if self.cross_group_size < 0 or self.cross_group_size == 1:
      raise ValueError(
        f"config.loss.cross_group_size: got {self.cross_group_size}, expected"
        " 0 (the global batch) or at least 2: one row has no negatives."
      )

  @property
  def weights(self) -> dict[str, float]:
    """Weight of each term that `combine` takes."""
    return {
      "flow": self.flow_weight,
      "text": self.text_weight,
      "cross": self.cross_weight,
      "intrinsic_image": self.intrinsic_weight,
      "intrinsic_text": self.intrinsic_weight,
    }


def pool(tokens_BTD: jax.Array) -> jax.Array:
  """Mean over the tokens, then unit length: what `info_nce` compares, [B, D].

  In fp32, whatever the tokens are in.
  """
  return _unit(jnp.mean(tokens_BTD.astype(jnp.float32), axis=1))


def info_nce(
  image_BD: jax.Array,
  text_BD: jax.Array,
  *,
  temperature: float = 0.07,
  direction: str = "both",
  group_size: int = 0,
) -> jax.Array:
  """Contrastive loss between the two branches, [B] fp32, Eq. 3.

  Row i is a pair; all other rows are its negatives, so hand over the whole
  global batch: under accumulation, the embeddings of all micro-batches. The
  cosine is the inner product, hence unit rows are expected (`pool`).

  Args:
    image_BD: unit embeddings of the image pass.
    text_BD: unit embeddings of the text pass.
    temperature: divides the cosine.
    direction: "image_to_text" is Eq. 3, every image chooses among the texts;
      "both" is the mean of that and of every text choosing among the images.
    group_size: n keeps the negatives within each n successive rows, as when
      the loss is taken per micro-batch; 0 uses all B.

  Raises:
    ValueError: for an unknown direction, shapes that differ, or groups that
      do not divide the batch.
  """
  _check_choice("config.loss.cross_direction", direction, CROSS_DIRECTIONS)
  _check_same_shape("info_nce", image_BD, text_BD)
  batch = image_BD.shape[0]
  if group_size and batch % group_size:
    raise ValueError(
      f"config.loss.cross_group_size: got {group_size}, expected a divisor of"
      f" the global batch of {batch}, or 0 for the whole of it."
    )
  image_GND, text_GND = (
    x.astype(jnp.float32).reshape(-1, group_size or batch, x.shape[-1])
    for x in (image_BD, text_BD)
  )
  cosine_GNN = jnp.einsum(
    "gid,gtd->git",
    image_GND,
    text_GND,
    # A TPU multiplies fp32 in bf16 by default: 1e-2 of error over 0.07.
    precision=jax.lax.Precision.HIGHEST,
  )

  def choose(axis: int) -> jax.Array:
    log_prob_GNN = jax.nn.log_softmax(cosine_GNN / temperature, axis=axis)
    return -jnp.diagonal(log_prob_GNN, axis1=1, axis2=2).reshape(batch)

  if direction == "image_to_text":
    return choose(axis=2)
  return 0.5 * (choose(axis=2) + choose(axis=1))


def intrinsic(
  frozen: jax.Array,
  mid: jax.Array,
  *,
  form: str = "one_minus_cosine",
) -> jax.Array:
  """Distance to the frozen vision-language features, [B] fp32, Eq. 4.

  One of the two summands of Eq. 4: h_I with the alignment head of the image
  pass, or h_T with that of the text pass. Features by token, [B, T, E], are
  compared one by one and averaged, as in REPA (arXiv 2410.06940).

  Args:
    frozen: h_I or h_T, any length, [B, E] or [B, T, E].
    mid: `image_mid`, `text_mid` or `image_mid_patches`, of the same shape.
    form: "one_minus_cosine" (never negative) or "negative_cosine", the
      paper's, which is smaller by one and has the same gradient.

  Raises:
    ValueError: for an unknown form, or shapes that differ.
  """
  _check_choice("config.loss.intrinsic_form", form, INTRINSIC_FORMS)
  _check_same_shape("intrinsic", frozen, mid)
  cosine = jnp.sum(
    _unit(frozen.astype(jnp.float32)) * _unit(mid.astype(jnp.float32)), axis=-1
  )
  cosine_B = cosine.reshape(cosine.shape[0], -1).mean(1)
  return 1.0 - cosine_B if form == "one_minus_cosine" else -cosine_B


def combine(
  terms: Mapping[str, jax.Array], config: LossConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The weighted sum of the batch means, Eq. 5.

  Args:
    terms: per-example values [B] (or their mean) by name: "flow", "text",
      "cross", "intrinsic_image", "intrinsic_text". A term may be absent only
      if its weight is 0; a term of weight 0 that is given is still reported.
    config: the weights.

  Returns:
    The scalar to differentiate, and flat metrics: `loss/<term>`, each before
    its weight, and `loss/total`.

  Raises:
    ValueError: for an unknown term, or one that is missing.
  """
  weights = config.weights
  missing = {name for name, w in weights.items() if w} - set(terms)
  if (unknown := set(terms) - set(weights)) or missing:
    raise ValueError(
      f"loss terms: got {sorted(terms)}, expected {sorted(weights)};"
      f" unknown: {sorted(unknown)}, missing: {sorted(missing)}. A term can be"
      " left out when its weight in config.loss is 0."
    )
  means = {name: jnp.mean(value) for name, value in terms.items()}
  total = sum(weights[name] * mean for name, mean in means.items())
  metrics = {f"loss/{name}": mean for name, mean in means.items()}
  return total, metrics | {"loss/total": total}


def _unit(x: jax.Array) -> jax.Array:
  """Rows of unit length; a zero row stays zero, with a finite gradient."""
  square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, 1e-16))


def _check_choice(key: str, value: str, known: tuple[str, ...]) -> None:
  if value not in known:
    raise ValueError(f"{key}: got {value!r}, expected one of {known}.")


def _check_same_shape(name: str, a: jax.Array, b: jax.Array) -> None:
  if a.shape != b.shape:
    raise ValueError(
      f"{name}: got shapes {a.shape} and {b.shape}, expected two equal ones,"
      " one row per example."
    )
