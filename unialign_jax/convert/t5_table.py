"""T5 encoders: `transformers.T5EncoderModel` names <-> `models/t5.py`."""

from unialign_jax.convert import mapping

_ATTENTION = "encoder.block.{i}.layer.0.SelfAttention"
_MLP = "encoder.block.{i}.layer.1.DenseReluDense"


def rules() -> list[mapping.Rule | mapping.Ignored]:
  """The table; it serves ReLU and gated encoders of every size."""
  Rule, linear = mapping.Rule, mapping.linear
  return [
    Rule(
      "shared.weight",
      "token_embed/embedding",
      aliases=("encoder.embed_tokens.weight",),
    ),
    Rule(
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      "relative_bias",
    ),
    *(
      Rule(f"{_ATTENTION}.{x}.weight", f"layers/attention/{x}/kernel", linear())
      for x in ("q", "k", "v")
    ),
    Rule(f"{_ATTENTION}.o.weight", "layers/attention/o/kernel", linear(2)),
    Rule(
      "encoder.block.{i}.layer.0.layer_norm.weight",
      "layers/attention_norm/scale",
    ),
    *(
      Rule(f"{_MLP}.{x}.weight", f"layers/mlp/{x}/kernel", linear())
      for x in ("wi", "wi_0", "wi_1", "wo")
    ),
    Rule(
      "encoder.block.{i}.layer.1.layer_norm.weight", "layers/mlp_norm/scale"
    ),
    Rule("encoder.final_layer_norm.weight", "final_norm/scale"),
    mapping.Ignored(
      r"decoder\..*|lm_head\.weight",
      "a whole T5 was published; text features come from its encoder alone",
    ),
  ]
