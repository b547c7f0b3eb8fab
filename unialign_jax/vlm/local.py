"""A vision-language model in this process, with PyTorch."""

import asyncio
import importlib
from collections.abc import Sequence
from typing import Any

from unialign_jax.vlm import asking


class Local:
  """A model of transformers' image-text-to-text kind.

  Args:
    name: Folder in Hugging Face layout, or hub id.
    decoding: How it chooses its words.
    batch_size: Requests of one call.
    device: Of PyTorch; None takes an accelerator where there is one.

  Raises:
    Unusable: PyTorch is not installed, or the model cannot be loaded.
  """

  def __init__(
    self,
    name: str,
    *,
    decoding: asking.Decoding,
    batch_size: int = 8,
    device: str | None = None,
  ):
    self.batch_size = batch_size
    self._decoding = decoding
    self._torch = _library("torch")
    transformers = _library("transformers")
    self._device = device or _best_device(self._torch)
    try:
      self._processor = transformers.AutoProcessor.from_pretrained(name)
      model = transformers.AutoModelForImageTextToText.from_pretrained(
        name, dtype="auto", use_safetensors=True
      )
    except (ImportError, OSError, ValueError) as error:
      raise asking.Unusable(
        f"got the model {name!r}, which cannot be loaded ({error}); expected a"
        " folder or hub id of an image-text-to-text model and its processor"
      ) from error
    self._model = model.to(self._device).eval()
    # Answers begin where prompts end, which is one place in all rows.
    self._processor.tokenizer.padding_side = "left"
    if self._processor.tokenizer.pad_token is None:
      self._processor.tokenizer.pad_token = self._processor.tokenizer.eos_token
    self._ends = _end_ids(self._model, self._processor.tokenizer)

  async def write(
    self,
    requests: Sequence[asking.Request],
    *,
    decoding: asking.Decoding | None = None,
  ) -> list[asking.Answer | asking.Failure]:
    """See `asking.Model`."""
    how = decoding or self._decoding
    return await asyncio.to_thread(self._write, requests, how)

  async def close(self) -> None:
    """Nothing to close."""

  def _write(
    self, requests: Sequence[asking.Request], decoding: asking.Decoding
  ) -> list[asking.Answer | asking.Failure]:
    inputs = self._inputs(requests)
    with self._torch.inference_mode():
      ids = self._model.generate(
        **inputs,
        **self._sampling(decoding),
        max_new_tokens=decoding.max_tokens,
        pad_token_id=self._processor.tokenizer.pad_token_id,
      )
    written = ids[:, inputs["input_ids"].shape[1] :].tolist()
    texts = self._processor.tokenizer.batch_decode(
      written, skip_special_tokens=True
    )
    return [
      asking.Answer(text, complete=not self._ends.isdisjoint(row))
      for text, row in zip(texts, written, strict=True)
    ]

  def _inputs(self, requests: Sequence[asking.Request]) -> Any:
    conversations = [
      [
        {
          "role": "user",
          "content": [
            *({"type": "image", "image": shown} for shown in request.images),
            {"type": "text", "text": request.prompt},
          ],
        }
      ]
      for request in requests
    ]
    inputs = self._processor.apply_chat_template(
      conversations,
      add_generation_prompt=True,
      tokenize=True,
      return_dict=True,
      return_tensors="pt",
      processor_kwargs={"padding": True},
    )
    return inputs.to(self._device, dtype=self._model.dtype)

  def _sampling(self, decoding: asking.Decoding) -> dict[str, Any]:
    if decoding.temperature == 0:
      return {"do_sample": False}
    if decoding.seed is not None:
      self._torch.manual_seed(decoding.seed)
    if decoding.temperature is None:
      return {}
    return {"do_sample": True, "temperature": decoding.temperature}


def _library(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise asking.Unusable(
      f"{name} is not installed; install it for your device, or with"
      " pip install -c constraints.txt -e '.[encoders]'"
    ) from error


def _best_device(torch: Any) -> str:
  if torch.cuda.is_available():
    return "cuda"
  return "mps" if torch.backends.mps.is_available() else "cpu"


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
  """Ids that end an answer; without one among them it was cut off."""
  ends = model.generation_config.eos_token_id
  if ends is None:
    ends = tokenizer.eos_token_id
  return frozenset(ends if isinstance(ends, list) else [ends])
