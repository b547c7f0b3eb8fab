"""The README.md of an exported folder."""

import dataclasses
from collections.abc import Sequence

from unialign_jax import config as config_lib

_USE = {
  "diffusers": """\
Needs `torch`, `diffusers` and `transformers`. The code of the network and of
the pipeline is in this folder; read it, then:

```python
import torch
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained(
  "this folder", trust_remote_code=True, torch_dtype=torch.{dtype}
)
picture = pipe("a red circle").images[0]
pipe.edit(picture, "make it blue").images[0]  # one condition picture, or a list
pipe.caption(picture)                         # or question="what color is it?"
```
""",
  "unialignment": """\
`transformer/` has the parameter names of the UniAlignment authors' transformer
and loads in their class with `strict=True`.
""",
  "dual_diffusion": """\
`transformer/` has the parameter names of Dual Diffusion's transformer and loads
in its class with `strict=True`. The alignment adapters, which only training
uses, are left out.
""",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """Where weights come from.

  Attributes:
    run: name of the run's folder.
    step: training steps behind them.
    weights: "ema" or "trained".
    dtype: that they are stored in, as torch names it.
  """

  run: str
  step: int
  weights: str
  dtype: str

  def metadata(self) -> dict[str, str]:
    """For the header of safetensors files."""
    return {key: str(value) for key, value in dataclasses.asdict(self).items()}


def write(
  config: config_lib.Config,
  origin: Origin,
  *,
  target: str,
  num_parameters: int,
  notes: Sequence[str],
) -> str:
  """The text of the card.

  Args:
    config: of the run.
    origin: of the weights.
    target: what the folder is for.
    num_parameters: of the transformer, as exported.
    notes: what a reader must change to load it.
  """
  model = config.model
  rows = (
    ("run", origin.run),
    ("training steps", f"{origin.step:,}"),
    ("weights", origin.weights),
    ("stored as", origin.dtype),
    ("parameters", f"{num_parameters:,}"),
    ("network", f"{model.depth} blocks of width {model.width}"),
    ("pictures", f"{config.data.resolution} x {config.data.resolution} pixels"),
    ("texts", f"{config.data.text_length} tokens"),
  )
  table = "\n".join(f"| {name} | {value} |" for name, value in rows)
  warnings = "".join(f"\n**Before loading:** {note}.\n" for note in notes)
  use = _USE[target].replace("{dtype}", origin.dtype)
  pipeline = "pipeline_tag: text-to-image\n" if target == "diffusers" else ""
  return f"""\
---
library_name: diffusers
{pipeline}tags: [unialignment, multimodal-diffusion, image-editing, captioning]
---
# {origin.run}, step {origin.step}

One multimodal diffusion transformer (UniAlignment, arXiv 2509.23760) for
pictures from text, editing, perception, personalisation, captions and answers;
trained and exported with unialign_jax.

| | |
|---|---|
{table}

{use}{warnings}"""
