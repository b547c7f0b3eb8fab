"""Vectors of photographs with their captions, by an encoder of one's choice.

The paper uses GME, of which Alibaba-NLP/gme-Qwen2-VL-2B-Instruct is one; its
own code wants transformers below 4.52. Three ways in: a model that
sentence-transformers loads, any `Encoder` by import path, or a file of vectors
that were made elsewhere.
"""

import hashlib
import importlib
import json
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np
import tqdm
from etils import epath
from PIL import Image

from unialign_jax.data.sources import pictures as picture_files
from unialign_jax.evals.semgen.building import pool
from unialign_jax.features import files

_CHUNK = 256  # photographs of one file, which a killed run does not lose


class Encoder(Protocol):
  """Photographs and captions to vectors.

  Attributes:
    identity: model, revision and settings, for the datasheet.
  """

  identity: str

  def encode(
    self, images: Sequence[Image.Image], texts: Sequence[str]
  ) -> np.ndarray:
    """One vector a pair.

    Args:
      images: RGB.
      texts: as many; "" where there is no caption.

    Returns:
      Floats [n, d].
    """
    ...


class SentenceTransformer:
  """A multimodal model of sentence-transformers.

  Args:
    name: folder or hub id.

  Raises:
    ValueError: it is not installed, or the model cannot be loaded.
  """

  def __init__(self, name: str):
    try:
      import sentence_transformers
    except ImportError as error:
      raise ValueError(
        f"--encoder: got {name!r}, which needs sentence-transformers; install"
        " it, give a MODULE:FACTORY of your own, or --embeddings"
      ) from error
    try:
      self._model = sentence_transformers.SentenceTransformer(name)
    except (ImportError, OSError, ValueError) as error:
      raise ValueError(
        f"--encoder: got {name!r}, which cannot be loaded ({error}), expected"
        " a multimodal model of sentence-transformers"
      ) from error
    version = sentence_transformers.__version__
    self.identity = f"{name} by sentence-transformers {version}"

  def encode(
    self, images: Sequence[Image.Image], texts: Sequence[str]
  ) -> np.ndarray:
    rows = [
      {"text": text, "image": image} if text else {"image": image}
      for image, text in zip(images, texts, strict=True)
    ]
    return self._model.encode(rows, normalize_embeddings=True)


def load(name: str) -> Encoder:
  """The encoder that --encoder names.

  Args:
    name: MODULE:FACTORY, which is called without arguments; else a model of
      sentence-transformers.

  Raises:
    ValueError: there is none.
  """
  module, colon, factory = name.partition(":")
  if not colon:
    return SentenceTransformer(name)
  try:
    made = getattr(importlib.import_module(module), factory)()
  except (ImportError, AttributeError) as error:
    raise ValueError(
      f"--encoder: got {name!r}, which cannot be imported ({error}), expected"
      " MODULE:FACTORY"
    ) from error
  if not getattr(made, "identity", "") or not hasattr(made, "encode"):
    raise ValueError(
      f"--encoder: {name} made a {type(made).__name__}, expected an object"
      " with identity and encode"
    )
  return made


def embed(
  candidates: Sequence[pool.Candidate],
  encoder: Encoder,
  folder: pathlib.Path,
  *,
  batch_size: int = 16,
) -> np.ndarray:
  """Vectors of all candidates, kept in a folder as they come.

  Args:
    candidates: readable ones.
    encoder: makes them.
    folder: of what is kept; chunks of other candidates or of another encoder
      are made anew.
    batch_size: photographs of one call.

  Returns:
    float32 [n, d], of length 1.

  Raises:
    ValueError: vectors of a wrong shape, not finite or all zero.
  """
  starts = range(0, len(candidates), _CHUNK)
  parts = [
    _chunk(candidates[start : start + _CHUNK], encoder, folder, batch_size)
    for start in tqdm.tqdm(starts, unit="chunk", disable=len(starts) < 2)
  ]
  return normalised(np.concatenate(parts))


def read(
  path: pathlib.Path, candidates: Sequence[pool.Candidate]
) -> tuple[np.ndarray, str]:
  """Vectors that were made elsewhere.

  Args:
    path: an .npz with `names` [n], as `Candidate.name`; `vectors` [n, d];
      `encoder`, a text that says what made them.
    candidates: whose vectors are wanted.

  Returns:
    float32 [n, d] of length 1, and the text.

  Raises:
    ValueError: another file, or candidates that it lacks.
  """
  try:
    with np.load(path, allow_pickle=False) as table:
      rows = dict(zip(table["names"].tolist(), table["vectors"], strict=True))
      identity = str(table["encoder"])
  except (OSError, KeyError, ValueError) as error:
    raise ValueError(
      f"--embeddings: got {path}, which cannot be read ({error}), expected an"
      " .npz with names, vectors and encoder"
    ) from error
  missing = [one.name for one in candidates if one.name not in rows]
  if missing:
    raise ValueError(
      f"--embeddings: {path} has no vector of {len(missing)} of"
      f" {len(candidates)} photographs, e.g. {missing[0]}"
    )
  return normalised(np.stack([rows[one.name] for one in candidates])), identity


def by(
  out: pathlib.Path, encoder: str, path: pathlib.Path | None
) -> Callable[[Sequence[pool.Candidate]], tuple[np.ndarray, str]]:
  """What gives the vectors of candidates, and says what made them.

  Args:
    out: folder of the set, in which vectors are kept.
    encoder: name of an encoder, "" for none.
    path: file of vectors, None for none.

  Raises:
    ValueError: both or neither.
  """
  if bool(encoder) == bool(path):
    raise ValueError(
      f"got --encoder={encoder} and --embeddings={path or ''}, expected one of"
      " them"
    )
  if path is not None:
    return lambda candidates: read(path, candidates)

  def encoded(
    candidates: Sequence[pool.Candidate],
  ) -> tuple[np.ndarray, str]:
    loaded = load(encoder)
    return embed(candidates, loaded, out / "embeddings"), loaded.identity

  return encoded


def normalised(vectors: np.ndarray) -> np.ndarray:
  """Vectors of length 1, float32 [n, d].

  Raises:
    ValueError: they are not finite, or all zero.
  """
  vectors = np.asarray(vectors, np.float32)
  lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
  bad = ~(np.isfinite(lengths) & (lengths > 0))
  if vectors.ndim != 2 or bad.any():
    raise ValueError(
      f"embeddings: got shape {vectors.shape} with {int(bad.sum())} vectors"
      " that are zero or not finite, expected [n, d] without"
    )
  return vectors / lengths


def _chunk(
  candidates: Sequence[pool.Candidate],
  encoder: Encoder,
  folder: pathlib.Path,
  batch_size: int,
) -> np.ndarray:
  asked = [encoder.identity, [(one.name, one.caption) for one in candidates]]
  digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
  path = folder / f"{digest[:16]}.npy"
  if path.exists():
    return np.load(path, allow_pickle=False)
  parts = []
  for start in range(0, len(candidates), batch_size):
    batch = candidates[start : start + batch_size]
    parts.append(_checked(_encoded(encoder, batch), len(batch), encoder))
  vectors = np.concatenate(parts)
  with files.written(epath.Path(path)) as name, name.open("wb") as file:
    np.save(file, vectors, allow_pickle=False)
  return vectors


def _encoded(encoder: Encoder, batch: Sequence[pool.Candidate]) -> Any:
  images = []
  for one in batch:
    with Image.open(one.path, formats=picture_files.FORMATS) as image:
      images.append(image.convert("RGB"))
  return encoder.encode(images, [one.caption for one in batch])


def _checked(vectors: Any, count: int, encoder: Encoder) -> np.ndarray:
  found = np.asarray(vectors, np.float32)
  if found.ndim != 2 or len(found) != count:
    raise ValueError(
      f"--encoder: {encoder.identity} gave shape {found.shape} for {count}"
      f" photographs, expected [{count}, d]"
    )
  return found
