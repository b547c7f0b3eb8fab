"""One server for all that needs no settings of its own."""

from collections.abc import Iterator

import pytest

pytest.importorskip("starlette", reason="got no starlette of the extra serve")
pytest.importorskip("uvicorn", reason="got no uvicorn of the extra serve")
pytest.importorskip("openai", reason="got no openai client")

from tests.serving import stand_in
from unialign_jax.use import texts as texts_lib


@pytest.fixture(scope="session")
def tokenizer() -> texts_lib.Texts:
  return stand_in.texts()


@pytest.fixture(scope="session")
def shared(tokenizer: texts_lib.Texts) -> Iterator[stand_in.Running]:
  with stand_in.running(tokenizer) as server:
    yield server


@pytest.fixture
def server(shared: stand_in.Running) -> stand_in.Running:
  """The shared server, with nothing noted yet."""
  shared.model.calls.clear()
  return shared
