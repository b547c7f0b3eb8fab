"""Sources, captioners and tokenizers whose every answer is known."""

import asyncio
import io
import json
import pathlib
from collections.abc import Callable
from collections.abc import Sequence

from PIL import Image

from unialign_jax.data.sources import base
from unialign_jax.features.captioning import ledger as ledger_lib
from unialign_jax.features.captioning import length
from unialign_jax.features.captioning import run as run_lib
from unialign_jax.vlm import asking

MODEL = "tiny"


def picture(shade: int, size: tuple[int, int] = (16, 16)) -> base.Picture:
  encoded = io.BytesIO()
  Image.new("RGB", size, (shade, shade, shade)).save(encoded, "png")
  return base.Picture(encoded.getvalue())


def raw(number: int, **changes) -> base.Raw:
  """Sample `number`; its target has that shade."""
  fields = dict(
    key=f"train/{number}",
    task="edit",
    source="fake/edits",
    license="CC0-1.0",
    caption_source="",
    target=picture(number),
    conditions=(picture(255),),
    instruction="make it grey",
  )
  return base.Raw(**(fields | changes))


def tokenizer(text: str) -> dict[str, list[int]]:
  """One token a word, and EOS."""
  return {"input_ids": [*range(2, 2 + len(text.split())), 1]}


class FakeCaptioner:
  """Answers `reply(shade)`, in batches, and notes what it was asked."""

  def __init__(
    self,
    reply: Callable[[int], asking.Answer | asking.Failure],
    batch_size: int = 1,
  ):
    self.batch_size = batch_size
    self.batches: list[list[int]] = []
    self.requests: list[asking.Request] = []
    self.closed = False
    self._reply = reply

  async def write(
    self,
    requests: Sequence[asking.Request],
    *,
    decoding: asking.Decoding | None = None,
  ) -> list[asking.Answer | asking.Failure]:
    del decoding
    shades = [request.images[0].getpixel((0, 0))[0] for request in requests]
    self.batches.append(shades)
    self.requests.extend(requests)
    await asyncio.sleep(0)
    return [self._reply(shade) for shade in shades]

  async def close(self) -> None:
    self.closed = True


def say_shade(shade: int) -> asking.Answer:
  return asking.Answer(f"A square of shade {shade}.")


def run(
  items: Sequence[base.Item],
  model: asking.Model,
  out: pathlib.Path,
  *,
  tokens: int = 256,
  name: str = MODEL,
  **config,
) -> dict[str, int]:
  """One run over `items`; what became of them."""
  ledger = ledger_lib.Ledger(out)
  failures = ledger_lib.Failures(out.with_suffix(".failures.jsonl"))
  work = run_lib.Run(
    items,
    model,
    ledger=ledger,
    failures=failures,
    limit=length.Limit(tokenizer, tokens),
    config=run_lib.RunConfig(model=name, **config),
  )
  try:
    asyncio.run(work.captions())
  finally:
    ledger.close()
    failures.close()
  return dict(work.counts)


def lines(path: pathlib.Path) -> list[dict[str, str]]:
  return [json.loads(line) for line in path.read_text().splitlines()]


def captions(path: pathlib.Path) -> dict[str, str]:
  """By key; every key is there once."""
  found = lines(path)
  by_key = {line["key"]: line["caption"] for line in found}
  assert len(by_key) == len(found)
  return by_key


def failures(out: pathlib.Path) -> list[tuple[str, str]]:
  found = lines(out.with_suffix(".failures.jsonl"))
  return [(line["key"], line["reason"]) for line in found]
