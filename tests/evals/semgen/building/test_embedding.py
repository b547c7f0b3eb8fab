"""Encoders of one's choice, and what is kept of their work."""

import dataclasses
import sys
import types

import numpy as np
import pytest

from tests.evals.semgen.building import writer
from unialign_jax.evals.semgen.building import embedding
from unialign_jax.evals.semgen.building import pool


@pytest.fixture
def candidates(tmp_path):
  return pool.read(writer.pool(tmp_path / "images", each=2))


def test_vectors_are_kept(tmp_path, candidates, monkeypatch):
  monkeypatch.setattr(embedding, "_CHUNK", 4)
  encoder = writer.Encoder()
  kept = tmp_path / "embeddings"
  vectors = embedding.embed(candidates, encoder, kept, batch_size=3)
  assert encoder.count == 6
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
  assert vectors[0].argmax() == 0 and vectors[-1].argmax() == 2
  again = embedding.embed(candidates, encoder, kept)
  np.testing.assert_array_equal(vectors, again)
  assert encoder.count == 6
  (first, _) = sorted(kept.iterdir())
  first.unlink()
  np.testing.assert_array_equal(
    vectors, embedding.embed(candidates, encoder, kept)
  )
  assert encoder.count in (8, 10)
  encoder.identity = "another"
  embedding.embed(candidates, encoder, kept)
  assert encoder.count >= 14


@pytest.mark.parametrize("bad", [np.zeros((1, 3)), np.full((1, 3), np.nan)])
def test_vectors_that_say_nothing(tmp_path, candidates, bad):
  encoder = writer.Encoder()
  encoder.encode = lambda images, texts: np.repeat(bad, len(images), axis=0)
  with pytest.raises(ValueError, match="6 vectors that are zero or not finite"):
    embedding.embed(candidates, encoder, tmp_path)


def test_vectors_of_a_wrong_shape(tmp_path, candidates):
  encoder = writer.Encoder()
  encoder.encode = lambda images, texts: np.ones(3)
  with pytest.raises(ValueError, match=r"gave shape \(3,\) for 6"):
    embedding.embed(candidates, encoder, tmp_path)


def test_vectors_of_elsewhere(tmp_path, candidates):
  path = tmp_path / "vectors.npz"
  names = [one.name for one in candidates][::-1]
  rows = np.arange(1, 13).reshape(6, 2)
  np.savez(path, names=names, vectors=rows, encoder="GME 2B, revision abc")
  vectors, identity = embedding.by(tmp_path, "", path)(candidates)
  assert identity == "GME 2B, revision abc"
  np.testing.assert_allclose(vectors[0], rows[-1] / np.linalg.norm(rows[-1]))
  np.savez(path, names=names[:-1], vectors=rows[:-1], encoder="x")
  with pytest.raises(ValueError, match=r"no vector of 1 of 6.*0_0\.jpg"):
    embedding.read(path, candidates)
  path.write_bytes(b"no table")
  with pytest.raises(ValueError, match=r"expected an \.npz with names"):
    embedding.read(path, candidates)


def test_encoders_by_name(tmp_path, candidates):
  by = embedding.by(
    tmp_path, "tests.evals.semgen.building.writer:Encoder", None
  )
  vectors, identity = by(candidates)
  assert vectors.shape == (6, 3)
  assert identity == "mean colors, for tests"
  with pytest.raises(ValueError, match="cannot be imported"):
    embedding.load("tests.evals.semgen.building.writer:Decoder")
  with pytest.raises(ValueError, match="made a str, expected an object"):
    embedding.load("builtins:str")


@pytest.mark.parametrize(("encoder", "path"), [("", None), ("a", "b")])
def test_one_of_both(tmp_path, encoder, path):
  with pytest.raises(ValueError, match="expected one of them"):
    embedding.by(tmp_path, encoder, path)


def test_what_sentence_transformers_is_given(monkeypatch, candidates, tmp_path):
  """As 6.2 takes pairs: a dictionary each, without text where there is none."""
  given = []

  class Model:
    def __init__(self, name):
      self.name = name

    def encode(self, rows, normalize_embeddings):
      assert normalize_embeddings
      given.extend(rows)
      return np.ones((len(rows), 4), np.float32)

  library = types.SimpleNamespace(SentenceTransformer=Model, __version__="6.2")
  monkeypatch.setitem(sys.modules, "sentence_transformers", library)
  named = [
    dataclasses.replace(one, caption=f"{one.name}!" if n else "")
    for n, one in enumerate(candidates)
  ]
  vectors, identity = embedding.by(tmp_path, "org/gme", None)(named)
  assert identity == "org/gme by sentence-transformers 6.2"
  np.testing.assert_allclose(vectors, 0.5)
  assert set(given[0]) == {"image"}
  assert [row["text"] for row in given[1:]] == [f"{x.name}!" for x in named[1:]]
  assert given[0]["image"].mode == "RGB"


def test_without_sentence_transformers(monkeypatch):
  monkeypatch.setitem(sys.modules, "sentence_transformers", None)
  with pytest.raises(ValueError, match="needs sentence-transformers"):
    embedding.load("org/gme")
