"""The published models that weights come from, as views on our own names.

A source says what is called otherwise there, what it lacks and so begins
anew, and what it has that the network here has no place for.
"""

import dataclasses
import re
from collections.abc import Iterator
from collections.abc import Mapping

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.convert import read
from unialign_jax.models import mmdit

Weights = read.Streamed | read.View
POOLED = "time_text_embed.text_embedder"
TIME_BIAS = "time_text_embed.timestep_embedder.linear_2.bias"
_LAST = "transformer_blocks.LAST"
_NO_ADAPTERS = {
  r"siglip_adapter_(img|text)\.fc\.[02]\.(weight|bias)": (
    "alignment heads are UniAlignment's, used in training only"
  )
}
_BEYOND_SD3 = {
  r"text_proj_out\.(weight|bias)": "SD3 predicts no text",
  r"null_image_embd": "SD3 always has an image",
  rf"{_LAST}\.attn\.to_add_out\.(weight|bias)": (
    "SD3's last block drops its text stream after attention"
  ),
  rf"{_LAST}\.ff_context\..*": (
    "SD3's last block drops its text stream after attention"
  ),
}
_ZERO_ROWS = (
  "transformer_blocks.{last}.norm1_context.linear, gates and MLP rows:"
  " zeros, so that the last block begins without changing its text stream"
)
_POOLED_DROPPED = (
  "modulation is by the timestep alone; --fold-pooled would add the empty"
  " prompt's part of it"
)


@dataclasses.dataclass(frozen=True)
class Source:
  """One kind of published model.

  Attributes:
    is_sd3: whether the transformer is SD3's own, with pooled text and without
      a text head.
    new: regex of our PyTorch names (LAST is the last block) -> why the model
      has no such tensors. A group of which it has a part is not new.
    qk_norm: whether it has one; None: either.
  """

  is_sd3: bool
  new: Mapping[str, str]
  qk_norm: bool | None = None


SOURCES = {
  "sd3": Source(True, _BEYOND_SD3 | _NO_ADAPTERS, qk_norm=False),
  "sd35": Source(True, _BEYOND_SD3 | _NO_ADAPTERS, qk_norm=True),
  "dual_diffusion": Source(False, _NO_ADAPTERS),
  "unialignment": Source(False, {}),
}


def in_our_names(weights: Weights, source: Source) -> read.View:
  """Weights under the names that `mmdit_table` has.

  Raises:
    ValueError: SD3's own weights where `source` is another, or the reverse.
  """
  for name, is_sd3, known in (
    ("norm_out.linear.weight", True, "sd3 or sd35"),
    ("image_norm_out.linear.weight", False, "dual_diffusion or unialignment"),
  ):
    if name in weights and is_sd3 != source.is_sd3:
      raise ValueError(
        f"--source: the weights have {name!r}, as only those of"
        f" --source={known} have; change --source."
      )
  if not source.is_sd3:
    return read.View(weights, {})
  derived = {}
  for kind in ("weight", "bias"):
    for theirs, ours in (
      ("norm_out.linear", "image_norm_out.linear"),
      ("proj_out", "image_proj_out"),
    ):
      if f"{theirs}.{kind}" in weights:
        derived[f"{ours}.{kind}"] = read.Derived(f"{theirs}.{kind}")
    last = f"transformer_blocks.{_last(weights)}.norm1_context.linear.{kind}"
    if last in weights:
      derived[last] = _full_modulation(last)
  return read.View(weights, derived)


def left_out(source: Source, folded: bool) -> list[mapping.Ignored]:
  """Rows for the table: what the model has and the network here has not."""
  if not source.is_sd3:
    return []
  reason = f"folded into {TIME_BIAS}" if folded else _POOLED_DROPPED
  pattern = rf"{re.escape(POOLED)}\.linear_[12]\.(weight|bias)"
  return [mapping.Ignored(pattern, reason)]


def check(name: str, config: mmdit.MMDiTConfig) -> None:
  """Refuses a model of another kind than `--source` says.

  Raises:
    ValueError: so.
  """
  wanted = SOURCES[name].qk_norm
  if wanted is not None and wanted != config.qk_norm:
    raise ValueError(
      f"--source={name}: got weights {'with' if config.qk_norm else 'without'}"
      " query and key norms; SD3.5 (sd35) has them, SD3 (sd3) has none. Change"
      " --source."
    )


def new_names(
  weights: Weights, source: Source, config: mmdit.MMDiTConfig
) -> dict[str, str]:
  """Our PyTorch names that the model lacks as a whole -> why."""
  last = config.depth - 1
  found = {}
  for pattern, reason in source.new.items():
    regex = re.compile(pattern.replace("LAST", str(last)))
    wanted = [name for name in _names(config, last) if regex.fullmatch(name)]
    if not any(name in weights for name in wanted):
      found |= dict.fromkeys(wanted, reason)
  return found


def notes(
  source: Source, config: mmdit.MMDiTConfig, new: Mapping[str, str]
) -> list[str]:
  """What begins anew and why, one line each."""
  lines = [f"{name}: {reason}" for name, reason in new.items()]
  if source.is_sd3:
    lines.append(_ZERO_ROWS.format(last=config.depth - 1))
  return lines


def initial_value(
  name: str, config: mmdit.MMDiTConfig, dtype: np.dtype, seed: int
) -> np.ndarray:
  """A fresh tensor by PyTorch name, drawn as a fresh network draws it.

  A network of one block is initialised, and compilation leaves nothing of it
  but the one tensor: a whole one would need the checkpoint's memory again.
  """
  one = dataclasses.replace(
    _without_positions(config), depth=1, align_depth=1, dual_attention_depth=0
  )
  rules = mmdit_table.rules(one)
  in_one = _at_block(name, config.depth - 1, 0)
  (path,) = (
    rule.flax
    for rule in rules
    if isinstance(rule, mapping.Rule) and rule.torch.format(i=0) == in_one
  )

  @jax.jit
  def draw(key: jax.Array) -> jax.Array:
    params = mmdit.MMDiT(one).init(key, *_example(one))["params"]
    leaves = flax.traverse_util.flatten_dict(params, sep="/")
    return leaves[path].astype(dtype)

  drawn = {path: np.asarray(draw(jax.random.key(seed)))}
  tree = flax.traverse_util.unflatten_dict(drawn, sep="/")
  return mapping.to_torch(rules, tree)[in_one]


def abstract_params(config: mmdit.MMDiTConfig, dtype: np.dtype) -> dict:
  """The parameter tree with every leaf in one dtype, shapes only.

  Blocks come last: leaves are filled in this order, and what is drawn needs
  memory of its own, while that of the blocks is still untouched.
  """
  model = mmdit.MMDiT(_without_positions(config))
  params = jax.eval_shape(model.init, jax.random.key(0), *_example(config))[
    "params"
  ]
  order = sorted(params, key=lambda name: name.endswith("blocks"))
  return {
    name: jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, dtype), params[name]
    )
    for name in order
  }


def _without_positions(config: mmdit.MMDiTConfig) -> mmdit.MMDiTConfig:
  """The same parameters without a table of hundreds of MB beside them."""
  return dataclasses.replace(
    config, pos_embed_size=1, pos_embed_base=1, dtype="float32"
  )


def _example(config: mmdit.MMDiTConfig) -> tuple[jax.Array, ...]:
  side = config.patch_size
  return (
    jnp.zeros((1, side, side, config.in_channels)),
    jnp.zeros((1, 1, config.text_dim)),
    jnp.zeros((1,)),
  )


def _names(config: mmdit.MMDiTConfig, block: int) -> Iterator[str]:
  """PyTorch names of the table, those of one block."""
  for rule in mmdit_table.rules(config):
    if isinstance(rule, mapping.Rule):
      yield rule.torch.format(i=block)


def _at_block(name: str, old: int, new: int) -> str:
  return name.replace(
    f"transformer_blocks.{old}.", f"transformer_blocks.{new}.", 1
  )


def _last(weights: Weights) -> int:
  """Number of the last block, -1 without any."""
  numbers = (re.match(r"transformer_blocks\.(\d+)\.", name) for name in weights)
  return max((int(found[1]) for found in numbers if found), default=-1)


def _full_modulation(name: str) -> read.Derived:
  """Scale and shift of SD3's last text stream -> all six chunks.

  What attention reads stays SD3's; the gates begin at zero.
  """

  def compute(x: np.ndarray) -> np.ndarray:
    scale, shift = np.split(x, 2)
    full = np.zeros((3 * len(x), *x.shape[1:]), x.dtype)
    full[: len(shift)] = shift
    full[len(shift) : len(x)] = scale
    return full

  return read.Derived(name, compute, lambda s: (3 * s[0], *s[1:]))
