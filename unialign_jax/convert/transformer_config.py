"""What `transformer/config.json` says of a network, for each export target.

Keys are those of diffusers' `SD3Transformer2DModel`, and `vocab_size` of the
UniAlignment authors. The last four are this project's: other classes ignore
them, and with them the folder describes the network completely.
"""

from typing import Any

from unialign_jax.models import mmdit

# target -> the class that reads the folder. UniAlignment's authors kept the
# name of the class of Dual Diffusion, from which theirs comes.
CLASSES = {
  "unialignment": "SD3JointModelFlexible",
  "dual_diffusion": "SD3JointModelFlexible",
  "diffusers": "UniAlignmentTransformer2DModel",
}
TARGETS = tuple(CLASSES)
_MLP_RATIO = 4  # of diffusers' FeedForward
# The numbers that the authors' class holds itself.
_NULL_TOKENS = 8
_ADAPTER = (1536, 2048, 3584)


def describe(config: mmdit.MMDiTConfig, target: str) -> dict[str, Any]:
  """The content of `config.json`.

  Raises:
    ValueError: the class of this target cannot hold such a network.
  """
  if target not in CLASSES:
    raise ValueError(f"--target: got {target!r}, expected one of {TARGETS}.")
  _check(config, target)
  return {
    "_class_name": CLASSES[target],
    "vocab_size": config.vocab_size,
    "sample_size": config.pos_embed_base * config.patch_size,
    "patch_size": config.patch_size,
    "in_channels": config.in_channels,
    "num_layers": config.depth,
    "attention_head_dim": config.width // config.num_heads,
    "num_attention_heads": config.num_heads,
    "joint_attention_dim": config.text_dim,
    "caption_projection_dim": config.width,
    "pooled_projection_dim": 2048,  # SD3's; there is no pooled text here
    "out_channels": config.in_channels,
    "pos_embed_max_size": config.pos_embed_size,
    "dual_attention_layers": list(range(config.dual_attention_depth)),
    "qk_norm": "rms_norm" if config.qk_norm else None,
    "null_image_tokens": config.null_image_tokens,
    "align_depth": config.align_depth,
    "align_hidden": config.align_hidden,
    "semantic_dim": config.semantic_dim,
  }


def notes(config: mmdit.MMDiTConfig, target: str) -> list[str]:
  """Sizes that the authors' class, as published, must be edited for."""
  if target == "diffusers":
    return []
  found = []
  if config.null_image_tokens != _NULL_TOKENS:
    found.append(
      f"null_image_embd has {config.null_image_tokens} tokens, the published"
      f" class {_NULL_TOKENS}"
    )
  adapter = (config.width, config.align_hidden, config.semantic_dim)
  if target == "unialignment" and adapter != _ADAPTER:
    found.append(
      f"the adapters have widths {adapter}, the published class {_ADAPTER}"
    )
  return found


def _check(config: mmdit.MMDiTConfig, target: str) -> None:
  """Refuses what no number in the class of the target can be changed for."""
  if config.mlp_ratio != _MLP_RATIO:
    raise ValueError(
      f"config.model.mlp_ratio: got {config.mlp_ratio}, expected {_MLP_RATIO},"
      " which diffusers' SD3 blocks always have; this network cannot be"
      " exported."
    )
  if target != "diffusers":
    for key, value in (
      ("qk_norm", config.qk_norm),
      ("dual_attention_depth", config.dual_attention_depth),
    ):
      if value:
        raise ValueError(
          f"config.model.{key}: got {value}, expected {type(value)()} for"
          f" --target={target}, whose class has no such layers; use"
          " --target=diffusers."
        )
