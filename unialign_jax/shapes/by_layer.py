"""What low precision costs layer by layer, in one evaluation of the network.

Held-out pictures at times spread evenly, and their captions partly masked, go
through T5 and the network with one kind of layer quantised, then with several.
Errors are relative to float32: of the velocity, and of the logits of the masked
tokens less their mean, which no softmax sees.
"""

import re
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unialign_jax.diffusion import flow
from unialign_jax.diffusion import masked
from unialign_jax.models import mmdit
from unialign_jax.shapes import exam as exam_lib
from unialign_jax.use import loading
from unialign_jax.use import quantise

_BLOCK = r"(dual_)?blocks/(image|text)/(attn2/)?"
# Every dense layer but those of the alignment heads -> its kernel's dimensions.
LAYERS = {
  "query, key, value": (_BLOCK + "[qkv]", "LIOO"),
  "attention out": (_BLOCK + "out", "LIIO"),
  "MLP in": (_BLOCK + "mlp_in", "LIO"),
  "MLP out": (_BLOCK + "mlp_out", "LIO"),
  "modulation": (_BLOCK + "modulation", "LIO"),
  "image head, modulation": ("image_head/modulation", "IO"),
  "image head, projection": ("image_head/proj", "IO"),
  "text head": ("text_head/proj", "IO"),
  "patches": ("patch_embed", "IO"),
  "text features": ("context_embed", "IO"),
  "time": ("time_embed/linear_[12]", "IO"),
  "T5, query, key, value": ("layers/attention/[qkv]", "LIOO"),
  "T5, attention out": ("layers/attention/o", "LIIO"),
  "T5, MLP": (r"layers/mlp/w\w+", "LIO"),
}


class Inputs(NamedTuple):
  """Of both passes: prompts, captions, pictures."""

  prompt_ids_BL: np.ndarray
  noisy_BHWC: jax.Array
  t_B: jax.Array
  masked_ids_BL: jax.Array
  is_masked_BL: jax.Array
  latents_BHWC: np.ndarray


def table(
  loaded: loading.Loaded, half: loading.Loaded, exam: exam_lib.Exam
) -> str:
  """A Markdown table: errors by layer, type, and whether inputs are too.

  Args:
    loaded: a model in float32.
    half: the same in bfloat16, to compare with.
    exam: whose prompts and pictures are shown.
  """
  inputs = make_inputs(loaded, exam)
  exact = evaluate(loaded, inputs, None, ())
  shares = shares_of(mmdit.MMDiTConfig())
  forms = [("int8", False), *((name, True) for name in quantise.TYPES)]
  heads = [f"{t}, {'both' if both else 'kernel'}" for t, both in forms]
  lines = [
    f"| layers | of SD3-medium | {' | '.join(heads)} |",
    "|---|---|" + "---|" * len(forms),
  ]
  alone = {name: [quantise.Row(*row, True)] for name, row in LAYERS.items()}
  alone["all of these"] = [row for rows in alone.values() for row in rows]
  for name, rows in alone.items():
    cells = []
    for quantize, both in forms:
      chosen = tuple(row._replace(inputs=both) for row in rows)
      cells.append(_errors(loaded, inputs, exact, quantize, chosen))
    share = f"{shares[name]:.2%}" if name in shares else ""
    lines.append(f"| {name} | {share} | {' | '.join(cells)} |")
  chosen = [
    _errors(loaded, inputs, exact, quantize, quantise.TABLE)
    for quantize in quantise.TYPES
  ]
  lines.append(f"| **as chosen** | | | {' | '.join(chosen)} |")
  rounded = _errors(half, inputs, exact, None, ())
  lines.append(f"| bfloat16, nothing quantised | | {rounded} | | |")
  return "\n".join(lines)


def make_inputs(loaded: loading.Loaded, exam: exam_lib.Exam) -> Inputs:
  """What the network is shown; nothing of it is low precision."""
  length, count = loaded.text_length, len(exam.singles)
  t_B = (jnp.arange(count, dtype=jnp.float32) + 0.5) / count
  keys = jax.random.split(jax.random.key(0))
  drawn_BHWC, _ = loaded.image.encode(
    np.stack([s.target_image for s in exam.singles])
  )
  shown_BHWC, _ = loaded.image.encode(
    np.stack([s.target_image for s in exam.pictures])
  )
  caption_ids_BL = loaded.text.tokenise(
    [s.caption for s in exam.pictures], length
  )
  masked_ids_BL, is_masked_BL = masked.corrupt(
    keys[0],
    jnp.asarray(caption_ids_BL),
    t_B,
    jnp.ones(caption_ids_BL.shape, bool),
    mask_id=loaded.text.mask_id,
  )
  return Inputs(
    prompt_ids_BL=loaded.text.tokenise(
      [s.instruction for s in exam.singles], length
    ),
    noisy_BHWC=flow.corrupt(
      jnp.asarray(drawn_BHWC), jax.random.normal(keys[1], drawn_BHWC.shape), t_B
    ),
    t_B=t_B,
    masked_ids_BL=masked_ids_BL,
    is_masked_BL=is_masked_BL,
    latents_BHWC=shown_BHWC,
  )


def shares_of(config: mmdit.MMDiTConfig) -> Mapping[str, float]:
  """Share of a network's parameters in the kernels of each of `LAYERS`."""
  leaves = jax.tree_util.tree_leaves_with_path(mmdit.abstract_params(config))
  sizes = {"/".join(k.key for k in path): leaf.size for path, leaf in leaves}
  total = sum(sizes.values())
  return {
    name: sum(
      size
      for path, size in sizes.items()
      if re.fullmatch(f"{pattern}/kernel", path)
    )
    / total
    for name, (pattern, _) in LAYERS.items()
    if not name.startswith("T5")
  }


def _errors(
  loaded: loading.Loaded,
  inputs: Inputs,
  exact: tuple[jax.Array, jax.Array],
  quantize: str | None,
  rows: tuple[quantise.Row, ...],
) -> str:
  found = evaluate(loaded, inputs, quantize, rows)
  return " ".join(f"{relative(f, e):.2%}" for f, e in zip(found, exact))


def relative(found: jax.Array, exact: jax.Array) -> float:
  """Norm of the error over that of the exact."""
  return float(jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact))


def evaluate(
  loaded: loading.Loaded,
  inputs: Inputs,
  quantize: str | None,
  rows: tuple[quantise.Row, ...],
) -> tuple[jax.Array, jax.Array]:
  """All velocities, and the logits of all masked tokens, float32."""
  device = jax.sharding.Mesh(jax.devices()[:1], ("one",))
  where = jax.NamedSharding(device, jax.P())

  def part(apply: Callable[..., Any], params: Any) -> tuple[Callable, Any]:
    shardings = jax.tree.map(lambda _: where, params)
    placed = quantise.place(params, shardings, quantize, rows)
    return quantise.applied(apply, quantize), placed

  apply_text, text_params = part(loaded.text.model.apply, loaded.text.params)
  apply, params = part(mmdit.MMDiT(loaded.model).apply, loaded.params)

  @jax.jit
  def both(params: Any, text_params: Any, inputs: Inputs) -> tuple:
    def text(ids_BL: jax.Array) -> jax.Array:
      return apply_text({"params": text_params}, ids_BL)

    image = (inputs.noisy_BHWC, text(inputs.prompt_ids_BL), inputs.t_B)
    clean = jnp.zeros_like(inputs.t_B)
    caption = (inputs.latents_BHWC, text(inputs.masked_ids_BL), clean)
    variables = {"params": params}
    velocity = apply(variables, *image, heads=("velocity",)).velocity_BHWC
    logits_BLV = apply(variables, *caption, heads=("logits",)).logits_BLV
    logits_BLV = logits_BLV.astype(jnp.float32)
    logits_BLV -= logits_BLV.mean(-1, keepdims=True)
    return velocity.astype(jnp.float32), logits_BLV

  velocity, logits_BLV = both(params, text_params, inputs)
  return velocity.ravel(), logits_BLV[inputs.is_masked_BL].ravel()
