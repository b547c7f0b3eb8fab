"""To ask a vision-language model: pictures and a prompt in, a text out."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from PIL import Image


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Request:
  """One question about pictures.

  Attributes:
    images: RGB, as the model is to see them, in order, before the prompt.
    lossless: Whether compression would change what there is to see.
    prompt: What the model is told.
  """

  images: tuple[Image.Image, ...]
  lossless: bool
  prompt: str


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a model wrote.

  Attributes:
    text: As it was written.
    complete: False where the model ran into the limit of tokens.
  """

  text: str
  complete: bool = True


@dataclasses.dataclass(frozen=True)
class Failure:
  """Why a request has no answer.

  Attributes:
    reason: Short and without particulars, so that reasons can be counted.
    detail: The particulars.
    rejected: Whether it is this one request that the server would not have;
      others may pass.
  """

  reason: str
  detail: str = ""
  rejected: bool = False


class Unusable(RuntimeError):
  """No request will ever get an answer: what, got, expected, remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
  """How a model chooses its words.

  Attributes:
    temperature: 0 takes the likeliest token; None leaves it to the model.
    max_tokens: Most tokens of an answer, by the model's own tokenizer.
    seed: Of the sampling; None leaves it to the model.
  """

  temperature: float | None = 0.0
  max_tokens: int = 400
  seed: int | None = 0


class Model(Protocol):
  """A vision-language model, far or near."""

  batch_size: int  # most requests of one `write`

  async def write(
    self, requests: Sequence[Request], *, decoding: Decoding | None = None
  ) -> Sequence[Answer | Failure]:
    """One result a request, in their order.

    Args:
      requests: At most `batch_size`.
      decoding: In place of the model's own.

    Raises:
      Unusable: it would refuse every request.
    """

  async def close(self) -> None:
    """Gives back what it holds."""
