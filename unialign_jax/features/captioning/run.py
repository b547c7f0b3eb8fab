"""Captions for all samples of a source that lack one."""

import asyncio
import collections
import dataclasses
from collections.abc import Sequence

import tqdm
from PIL import Image

from unialign_jax.data.sources import base
from unialign_jax.data.sources import pictures
from unialign_jax.features.captioning import ledger as ledger_lib
from unialign_jax.features.captioning import length
from unialign_jax.features.captioning import prompts
from unialign_jax.features.captioning import wording
from unialign_jax.vlm import asking


class TooManyFailures(RuntimeError):
  """So many pictures failed that more of the same is to be expected."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
  """How a run goes about its work.

  Attributes:
    model: Name that the captions carry.
    concurrency: Calls of the captioner at once.
    max_side: Longer side in pixels of what the model sees, at most.
    max_failures: Failed pictures that stop the run.
  """

  model: str
  concurrency: int = 32
  max_side: int = 1024
  max_failures: int = 100


@dataclasses.dataclass(kw_only=True, eq=False)
class _Job:
  """One picture, one prompt, and all samples that wait for the answer."""

  raw: base.Raw
  prompt: prompts.Prompt
  sha256: str
  samples: list[tuple[str, str]]  # source, key


_Asked = tuple[str, str, str]  # see `ledger.Line.asked`


class Run:
  """One pass over a source; see `captions`.

  Args:
    source: What to caption.
    model: Writes the texts.
    ledger: What is done; captions are added to it.
    failures: Samples without caption are added to it.
    limit: Of the length of captions.
    config: See there.

  Attributes:
    counts: Samples by what became of them; complete once `captions` is.
  """

  def __init__(
    self,
    source: base.Source,
    model: asking.Model,
    *,
    ledger: ledger_lib.Ledger,
    failures: ledger_lib.Failures,
    limit: length.Limit,
    config: RunConfig,
  ):
    self.counts: collections.Counter[str] = collections.Counter()
    self._source = source
    self._model = model
    self._ledger = ledger
    self._failures = failures
    self._limit = limit
    self._config = config
    self._waiting: dict[_Asked, _Job] = {}
    self._failed: dict[_Asked, asking.Failure] = {}
    self._bar = tqdm.tqdm(
      total=len(source), unit="picture", smoothing=0, dynamic_ncols=True
    )

  async def captions(self) -> None:
    """Asks for every caption that is missing.

    Raises:
      TooManyFailures: more than `config.max_failures`.
      asking.Unusable: the model would refuse every request.
    """
    # A bounded queue: reading stays just ahead of the model.
    queue: asyncio.Queue[list[_Job] | None] = asyncio.Queue(
      self._config.concurrency
    )
    try:
      async with asyncio.TaskGroup() as tasks:
        tasks.create_task(self._read(queue))
        for _ in range(self._config.concurrency):
          tasks.create_task(self._work(queue))
    except ExceptionGroup as group:
      raise group.exceptions[0] from group
    finally:
      self._bar.close()
      await self._model.close()

  async def _read(self, queue: asyncio.Queue[list[_Job] | None]) -> None:
    """Items in order and one at a time, as files are read best."""
    batch: list[_Job] = []
    for index in range(len(self._source)):
      item = await asyncio.to_thread(self._source.__getitem__, index)
      if job := self._admit(item):
        batch.append(job)
      if len(batch) == self._model.batch_size:
        await queue.put(batch)
        batch = []
    if batch:
      await queue.put(batch)
    for _ in range(self._config.concurrency):
      await queue.put(None)

  def _admit(self, item: base.Item) -> _Job | None:
    """A job where there is something new to ask."""
    if isinstance(item, base.Rejected):
      return self._skip(f"rejected ({item.reason})")
    if item.caption:
      return self._skip("had a caption")
    if item.question:  # an answer is no caption
      return self._skip("question without answer")
    sample = (item.source, item.key)
    if sample in self._ledger.finished:
      return self._skip("done before")
    prompt = prompts.of(item)
    sha256 = ledger_lib.image_sha256(item.target)
    job = _Job(raw=item, prompt=prompt, sha256=sha256, samples=[sample])
    asked = self._asked(job)
    if asked in self._ledger.captions:
      self._write(job, self._ledger.captions[asked])
    elif asked in self._failed:
      self._fail(job.samples, self._failed[asked])
    elif asked in self._waiting:
      self._waiting[asked].samples.append(sample)
    else:
      self._waiting[asked] = job
      return job
    self.counts["of a picture asked before"] += 1
    return None

  async def _work(self, queue: asyncio.Queue[list[_Job] | None]) -> None:
    while jobs := await queue.get():
      prepared = await asyncio.gather(
        *(asyncio.to_thread(_request, job, self._config) for job in jobs)
      )
      asked = []
      for job, request in zip(jobs, prepared, strict=True):
        if isinstance(request, asking.Failure):
          self._settle(job, request)
        else:
          asked.append((job, request))
      if not asked:
        continue
      answers = await self._model.write([request for _, request in asked])
      for (job, _), answer in zip(asked, answers, strict=True):
        self._settle(job, answer)

  def _settle(self, job: _Job, result: asking.Answer | asking.Failure) -> None:
    """Writes what came back for a job, for all samples that wait for it."""
    del self._waiting[self._asked(job)]
    if isinstance(result, asking.Answer):
      result, was_cut = caption_of(result, self._limit)
      if was_cut:
        self.counts["cut at a sentence"] += 1
    if isinstance(result, asking.Failure):
      self._failed[self._asked(job)] = result
      self._fail(job.samples, result)
    else:
      self._write(job, result)

  def _write(self, job: _Job, caption: str) -> None:
    for source, key in job.samples:
      self._ledger.add(
        ledger_lib.Line(
          source=source,
          key=key,
          image_sha256=job.sha256,
          caption=caption,
          model=self._config.model,
          prompt=job.prompt.id,
        )
      )
    self.counts["captions written"] += len(job.samples)
    self._bar.update(len(job.samples))

  def _fail(
    self, samples: Sequence[tuple[str, str]], failure: asking.Failure
  ) -> None:
    for source, key in samples:
      self._failures.add(source, key, failure)
    self.counts[f"failed ({failure.reason})"] += len(samples)
    self._bar.update(len(samples))
    if len(self._failed) > self._config.max_failures:
      raise TooManyFailures(
        f"got {len(self._failed)} pictures without caption, expected at"
        f" most {self._config.max_failures}, the last one by"
        f" {failure.reason!r} ({failure.detail}); {self._failures.path} lists"
        " them. Mend the cause or raise --max_failures, and run the same"
        " command again"
      )

  def _skip(self, what: str) -> None:
    """Counts a sample that needs nothing; it tells nothing about the speed."""
    self.counts[what] += 1
    self._bar.initial += 1
    self._bar.update()

  def _asked(self, job: _Job) -> _Asked:
    return job.sha256, self._config.model, job.prompt.id


def caption_of(
  answer: asking.Answer, limit: length.Limit
) -> tuple[str | asking.Failure, bool]:
  """The caption in an answer, and whether it was cut at a sentence's end."""
  text = wording.clean(answer.text)
  if not text:
    return asking.Failure("empty answer", answer.text[:200]), False
  if wording.is_refusal(text):
    return asking.Failure("refusal", text[:200]), False
  if answer.complete and limit.fits(text):
    return text, False
  kept = limit.cut(text)
  if not kept:
    return asking.Failure("no full sentence fits", text[:200]), False
  return kept, kept != text


def _request(job: _Job, config: RunConfig) -> asking.Request | asking.Failure:
  try:
    pixels = pictures.decode(job.raw.target)
  except pictures.PictureError as error:
    return asking.Failure("bad picture", str(error))
  image = Image.fromarray(pixels)
  image.thumbnail((config.max_side, config.max_side), Image.Resampling.LANCZOS)
  return asking.Request(
    images=(image,),
    # Compression blurs the thin lines of a map.
    lossless=job.raw.task == "perception",
    prompt=job.prompt.text,
  )
