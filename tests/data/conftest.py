"""Feature sets, and pipelines that are closed after the test."""

import pytest

from tests.data import pipelines
from tests.features import fakes
from unialign_jax.data import pipeline


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
  """A text-to-image set and an edit set."""
  root = tmp_path_factory.mktemp("sets")
  pipelines.write(
    root / "t2i", [fakes.sample(i) for i in range(pipelines.NUM_T2I)]
  )
  pipelines.write(
    root / "edit", [fakes.edit_sample(i) for i in range(pipelines.NUM_EDIT)]
  )
  return str(root / "t2i"), str(root / "edit")


@pytest.fixture
def make():
  """Makes pipelines and closes them after the test."""
  made = []

  def make_pipeline(
    *sources, host=(0, 1), expectations=pipelines.EXPECTATIONS, **changes
  ):
    config = pipeline.DataConfig(
      **{
        "sources": sources,
        "batch_size": 8,
        "shuffle_seed": 0,
        "num_threads": 2,
        "prefetch_batches": 2,
        "max_damaged_records": 0,
      }
      | changes
    )
    made.append(
      pipeline.make_pipeline(
        config, expectations, host_index=host[0], hosts=host[1]
      )
    )
    return made[-1]

  yield make_pipeline
  for batches in made:
    batches.close()


@pytest.fixture
def small_set(tmp_path):
  pipelines.write(tmp_path, [fakes.sample(i) for i in range(9)])
  return tmp_path
