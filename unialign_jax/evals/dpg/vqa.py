"""Who answers DPG-Bench's questions here: a judge, or a VQA model.

Neither is the official one, mPLUG-large of ModelScope, whose yes counts only
where it is just that word.
"""

import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from unialign_jax.evals.geneval import detector
from unialign_jax.evals.judge import replies

_ASK = (
  "Look at the picture and answer the question with one word, yes or no.\n"
  "Question: {question}"
)
_FIRST_WORD = re.compile(r"[\W_]*(yes|no)\b", re.IGNORECASE)
_YES, _NO = (1.0,), (0.0,)
_KINDS = ("blip", "vilt")
_MOST_TOKENS = 10


def prompt(question: str, is_judge: bool) -> str:
  """What is asked; a VQA model knows the bare question alone."""
  return _ASK.format(question=question) if is_judge else question


def parse(reply: str) -> replies.Scores | replies.Unparsed:
  """1 for a reply that begins with yes, 0 for one that begins with no."""
  text = replies.without_thoughts(reply).strip()
  if not text:
    return replies.Unparsed("empty")
  found = _FIRST_WORD.match(text)
  if found is None:
    return replies.Unparsed("neither yes nor no", text[:200])
  return _YES if found[1].lower() == "yes" else _NO


def parse_strictly(reply: str) -> replies.Scores:
  """1 for yes alone, as the official scorer has it, 0 for all else."""
  return _YES if reply == "yes" else _NO


class Transformers:
  """BLIP or ViLT of transformers, as a `Judge`. Needs PyTorch.

  Args:
    name: folder in Hugging Face layout, or hub id, e.g.
      "Salesforce/blip-vqa-capfilt-large".

  Raises:
    ValueError: PyTorch is missing, or the model cannot be loaded.
  """

  concurrency = 1

  def __init__(self, name: str):
    self._torch = detector.library("torch")
    transformers = detector.library("transformers")
    try:
      self._image_processor = transformers.AutoImageProcessor.from_pretrained(
        name, backend="pil"
      )
      self._tokenizer = transformers.AutoTokenizer.from_pretrained(name)
      model = transformers.AutoModelForVisualQuestionAnswering.from_pretrained(
        name, dtype=self._torch.float32, use_safetensors=True
      )
    except (ImportError, OSError, ValueError) as error:
      raise ValueError(
        f"--set vqa={name}: cannot be loaded ({error}); expected a folder or"
        " hub id of a VQA model of transformers (BLIP, ViLT)."
      ) from error
    kind = model.config.model_type
    if kind not in _KINDS:
      raise ValueError(
        f"--set vqa={name}: got a {kind}, expected one of {_KINDS}; others can"
        " answer as a judge (--judge=local:...)."
      )
    self._device = detector.best_device(self._torch)
    self._model = model.to(self._device).eval()
    self._generates = kind == "blip"
    self.identity = f"{name} ({kind})"
    self.libraries = f"transformers {transformers.__version__}"

  def ask(
    self, prompt: str, images: Sequence[Image.Image], *, attempt: int = 0
  ) -> str:
    """See `Judge`; every attempt gets the same answer."""
    del attempt
    (picture,) = images
    inputs = dict(self._tokenizer(prompt, return_tensors="pt"))
    inputs.update(self._image_processor(images=picture, return_tensors="pt"))
    inputs = {k: v.to(self._device) for k, v in inputs.items()}
    with self._torch.inference_mode():
      return self._answer(inputs)

  def _answer(self, inputs: dict[str, Any]) -> str:
    if not self._generates:  # it chooses among some thousand answers
      label = int(self._model(**inputs).logits.argmax(-1))
      return self._model.config.id2label[label]
    inputs.pop("token_type_ids", None)
    ids = self._model.generate(**inputs, max_new_tokens=_MOST_TOKENS)
    return self._tokenizer.decode(ids[0], skip_special_tokens=True).strip()
