"""Autoencoders: `diffusers.AutoencoderKL` names <-> `models/vae.py`."""

from collections.abc import Iterator

from unialign_jax.convert import mapping


def _conv(torch: str, flax: str) -> Iterator[mapping.Rule]:
  yield mapping.Rule(f"{torch}.weight", f"{flax}/kernel", mapping.CONV)
  yield mapping.Rule(f"{torch}.bias", f"{flax}/bias")


def _norm(torch: str, flax: str) -> Iterator[mapping.Rule]:
  yield mapping.Rule(f"{torch}.weight", f"{flax}/scale")
  yield mapping.Rule(f"{torch}.bias", f"{flax}/bias")


def _dense(torch: str, flax: str) -> Iterator[mapping.Rule]:
  yield mapping.Rule(f"{torch}.weight", f"{flax}/kernel", mapping.linear())
  yield mapping.Rule(f"{torch}.bias", f"{flax}/bias")


def _resnet(torch: str, flax: str) -> Iterator[mapping.Rule]:
  for norm in ("norm1", "norm2"):
    yield from _norm(f"{torch}.{norm}", f"{flax}/{norm}")
  for conv in ("conv1", "conv2", "conv_shortcut"):
    yield from _conv(f"{torch}.{conv}", f"{flax}/{conv}")


def _attention(torch: str, flax: str) -> Iterator[mapping.Rule]:
  yield from _norm(f"{torch}.group_norm", f"{flax}/norm")
  for name in ("q", "k", "v"):
    yield from _dense(f"{torch}.to_{name}", f"{flax}/{name}")
  yield from _dense(f"{torch}.to_out.0", f"{flax}/out")


def _half(half: str, blocks: str, sampler: str) -> Iterator[mapping.Rule]:
  """Encoder or decoder; `sampler` is "downsample" or "upsample"."""
  yield from _conv(f"{half}.conv_in", f"{half}/conv_in")
  yield from _resnet(
    f"{half}.{blocks}.{{i}}.resnets.{{j}}", f"{half}/level_{{i}}_resnet_{{j}}"
  )
  yield from _conv(
    f"{half}.{blocks}.{{i}}.{sampler}rs.0.conv", f"{half}/level_{{i}}_{sampler}"
  )
  yield from _resnet(
    f"{half}.mid_block.resnets.{{j}}", f"{half}/mid/resnet_{{j}}"
  )
  yield from _attention(
    f"{half}.mid_block.attentions.0", f"{half}/mid/attention"
  )
  yield from _norm(f"{half}.conv_norm_out", f"{half}/norm_out")
  yield from _conv(f"{half}.conv_out", f"{half}/conv_out")


def rules() -> list[mapping.Rule | mapping.Ignored]:
  """The table; it serves every size, with or without quant convolutions."""
  return [
    *_half("encoder", "down_blocks", "downsample"),
    *_half("decoder", "up_blocks", "upsample"),
    *_conv("quant_conv", "quant_conv"),
    *_conv("post_quant_conv", "post_quant_conv"),
  ]
