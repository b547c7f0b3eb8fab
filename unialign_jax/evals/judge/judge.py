"""Whoever looks at pictures and answers: a server, or a model here."""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image


class JudgeError(RuntimeError):
  """No answer, after all attempts that could have brought one."""


class JudgeRefused(JudgeError):
  """A filter or the model would not have this picture or question."""


class JudgeRejected(JudgeError):
  """The server would not have this request: too large, or not understood."""


class Judge(Protocol):
  """One question about pictures, one reply.

  Attributes:
    identity: model, how it is reached and how it decodes, for the results;
      no secrets. Replies of one identity may be used again.
    libraries: names and versions of what asks it.
    concurrency: calls of `ask` at once, from as many threads, at most.
  """

  identity: str
  libraries: str
  concurrency: int

  def ask(
    self, prompt: str, images: Sequence[Image.Image], *, attempt: int = 0
  ) -> str:
    """The reply as it came.

    Args:
      prompt: after the pictures.
      images: in order.
      attempt: 0, then counting up where a reply could not be used, so that
        another can be drawn.

    Raises:
      JudgeRefused, JudgeRejected: no reply to this question, though others
        may get one.
      JudgeError: no reply.
      vlm.asking.Unusable: none can be expected (wrong key, no such model).
    """
    ...
