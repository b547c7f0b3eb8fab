"""Objects in a picture, by a COCO detector of transformers. Needs PyTorch.

Not the official detector, which is mmdet's Mask2Former (Swin-S): the same
rule over other boxes. An instance segmenter has masks, as the official one;
a detector of boxes has none, and then colours are judged on the whole box.
"""

import importlib
from collections.abc import Mapping
from typing import Any
from typing import Protocol

import numpy as np
from PIL import Image

from unialign_jax.evals.geneval import rule

_SEGMENTERS = ("mask2former", "maskformer")
# What COCO's classes are called elsewhere, to what they are in GenEval.
_RENAMED = {
  "mouse": "computer mouse",
  "remote": "tv remote",
  "keyboard": "computer keyboard",
  "motorbike": "motorcycle",
  "aeroplane": "airplane",
  "sofa": "couch",
  "pottedplant": "potted plant",
  "diningtable": "dining table",
  "tvmonitor": "tv",
  "hair dryer": "hair drier",
}


class Detector(Protocol):
  """Finds objects.

  Attributes:
    identity: of the model, for the results.
    classes: that it can find, by GenEval's names.
  """

  identity: str
  classes: frozenset[str]

  def find(self, picture: Image.Image) -> list[rule.Object]:
    """All objects of an RGB picture with confidence above `rule.CONFIDENCE`."""
    ...


class Transformers:
  """A detector or instance segmenter, from a folder or the hub.

  Args:
    name: folder in Hugging Face layout, or hub id, e.g.
      "facebook/mask2former-swin-small-coco-instance".

  Raises:
    ValueError: PyTorch is missing, or the model cannot be loaded.
  """

  def __init__(self, name: str):
    self._torch = library("torch")
    transformers = library("transformers")
    try:
      config = transformers.AutoConfig.from_pretrained(name)
      self._has_masks = config.model_type in _SEGMENTERS
      auto = (
        transformers.AutoModelForUniversalSegmentation
        if self._has_masks
        else transformers.AutoModelForObjectDetection
      )
      # Pillow's own resizing: the same numbers with torchvision and without.
      self._processor = transformers.AutoImageProcessor.from_pretrained(
        name, backend="pil"
      )
      model = auto.from_pretrained(
        name, dtype=self._torch.float32, use_safetensors=True
      )
    except (ImportError, OSError, ValueError) as error:
      raise ValueError(
        f"--set detector={name}: cannot be loaded ({error}); expected a folder"
        " or hub id of a COCO detector or of Mask2Former for instances."
      ) from error
    self._device = best_device(self._torch)
    self._model = model.to(self._device).eval()
    self._names = _names(config.id2label)
    self.classes = frozenset(self._names.values())
    self.identity = f"{name} ({config.model_type})"

  def find(self, picture: Image.Image) -> list[rule.Object]:
    """See `Detector`."""
    inputs = self._processor(images=picture, return_tensors="pt")
    with self._torch.inference_mode():
      outputs = self._model(**inputs.to(self._device))
    size = [(picture.height, picture.width)]
    read = self._instances if self._has_masks else self._boxes
    return [o for o in read(outputs, size) if o.name in self.classes]

  def _instances(self, outputs: Any, size: Any) -> list[rule.Object]:
    (found,) = self._processor.post_process_instance_segmentation(
      outputs,
      threshold=rule.CONFIDENCE,
      target_sizes=size,
      return_binary_maps=True,
    )
    segments = found["segments_info"]
    if not segments:
      return []
    masks = found["segmentation"].cpu().numpy().astype(bool)
    return [
      rule.Object(
        name=self._names.get(segment["label_id"], ""),
        box=box_of(mask),
        confidence=float(segment["score"]),
        mask=mask,
      )
      for segment, mask in zip(segments, masks, strict=True)
    ]

  def _boxes(self, outputs: Any, size: Any) -> list[rule.Object]:
    (found,) = self._processor.post_process_object_detection(
      outputs, threshold=rule.CONFIDENCE, target_sizes=size
    )
    rows = zip(found["labels"], found["boxes"], found["scores"], strict=True)
    return [
      rule.Object(
        name=self._names.get(int(label), ""),
        box=tuple(box.tolist()),
        confidence=float(score),
      )
      for label, box, score in rows
    ]


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
  """Left, top, right and bottom around a mask that is not empty."""
  rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
  return (
    float(columns[0]),
    float(rows[0]),
    float(columns[-1] + 1),
    float(rows[-1] + 1),
  )


def library(name: str) -> Any:
  """A module that only scoring needs.

  Raises:
    ValueError: it is not installed.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ValueError(
      f"{name} is not installed, which scoring here needs; install it for your"
      " device, or with pip install -c constraints.txt -e '.[encoders]'"
    ) from error


def best_device(torch: Any) -> str:
  """Where PyTorch is fastest."""
  return "cuda" if torch.cuda.is_available() else "cpu"


def _names(labels: Mapping[int, str]) -> dict[int, str]:
  """The classes by number; COCO's list of 91 has places without any."""
  lower = {int(number): label.lower() for number, label in labels.items()}
  return {
    number: _RENAMED.get(label, label)
    for number, label in lower.items()
    if label != "n/a"
  }
