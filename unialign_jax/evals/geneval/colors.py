"""The colours of objects, by a CLIP of transformers. Needs PyTorch.

As GenEval has it: the object is cut out of the picture, what lies outside of
its mask is grey, and CLIP chooses among ten colours, each the mean of three
prompts with the name of the object's class. The official model is
open_clip's ViT-L-14 of OpenAI, whose weights are
"openai/clip-vit-large-patch14" on the hub.
"""

import functools
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np
from PIL import Image

from unialign_jax.evals.geneval import detector
from unialign_jax.evals.geneval import prompts
from unialign_jax.evals.geneval import rule

_OUTSIDE = "#999"
_TEMPLATES = (
  "a photo of a {color} {name}",
  "a photo of a {color}-colored {name}",
  "a photo of a {color} object",
)


class Colors(Protocol):
  """Names colours.

  Attributes:
    identity: of the model, for the results.
  """

  identity: str

  def name(
    self, picture: Image.Image, objects: Sequence[rule.Object], name: str
  ) -> list[str]:
    """One of `prompts.COLORS` for each of the objects, all of class `name`."""
    ...


class Clip:
  """CLIP as a zero-shot classifier.

  Args:
    name: folder in Hugging Face layout, or hub id.

  Raises:
    ValueError: PyTorch is missing, or the model cannot be loaded.
  """

  def __init__(self, name: str):
    self._torch = detector.library("torch")
    transformers = detector.library("transformers")
    try:
      self._processor = transformers.AutoImageProcessor.from_pretrained(
        name, backend="pil"
      )
      self._tokenizer = transformers.AutoTokenizer.from_pretrained(name)
      model = transformers.CLIPModel.from_pretrained(
        name, dtype=self._torch.float32, use_safetensors=True
      )
    except (ImportError, OSError, ValueError) as error:
      raise ValueError(
        f"--set clip={name}: cannot be loaded ({error}); expected a folder or"
        " hub id of a CLIP."
      ) from error
    self._device = detector.best_device(self._torch)
    self._model = model.to(self._device).eval()
    self._classifier = functools.cache(self._weights)
    self.identity = name

  def name(
    self, picture: Image.Image, objects: Sequence[rule.Object], name: str
  ) -> list[str]:
    """See `Colors`."""
    crops = [cut_out(picture, found) for found in objects]
    inputs = self._processor(images=crops, return_tensors="pt")
    with self._torch.inference_mode():
      features_ND = self._model.get_image_features(
        **inputs.to(self._device)
      ).pooler_output
      # Their length changes no order of the colours.
      logits_NC = features_ND @ self._classifier(name).T
    return [prompts.COLORS[i] for i in logits_NC.argmax(-1).tolist()]

  def _weights(self, name: str) -> Any:
    """Directions of the colours of a class, [10, D]."""
    directions = []
    for color in prompts.COLORS:
      texts = [t.format(color=color, name=name) for t in _TEMPLATES]
      inputs = self._tokenizer(texts, padding=True, return_tensors="pt")
      with self._torch.inference_mode():
        features_TD = self._model.get_text_features(
          **inputs.to(self._device)
        ).pooler_output
      directions.append(_unit(_unit(features_TD).mean(0)))
    return self._torch.stack(directions)


def cut_out(picture: Image.Image, found: rule.Object) -> Image.Image:
  """The object alone: its box, grey outside of its mask."""
  if found.mask is not None:
    blank = Image.new("RGB", picture.size, _OUTSIDE)
    mask = Image.fromarray(found.mask.astype(np.uint8) * 255)
    picture = Image.composite(picture, blank, mask)
  return picture.crop(found.box)


def _unit(features: Any) -> Any:
  return features / features.norm(dim=-1, keepdim=True)
