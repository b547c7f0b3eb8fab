"""What the writer refuses: arguments, and values that cannot be stored."""

import dataclasses

import pytest

from tests.features import fakes
from tests.features import test_writer as sets


def test_no_samples(tmp_path):
  for nothing in ([], iter([])):
    with pytest.raises(ValueError, match="got none"):
      sets.write(nothing, tmp_path)


@pytest.mark.parametrize(
  ("name", "value"),
  [("text_length", 0), ("draws", -1), ("batch_size", 0), ("shard_size", 0)],
)
def test_bad_arguments(name, value):
  with pytest.raises(ValueError, match=f"{name}: got {value}"):
    dataclasses.replace(sets.CONFIG, **{name: value})


def test_bad_dtype_and_worker(tmp_path):
  with pytest.raises(ValueError, match="'int4'"):
    dataclasses.replace(sets.CONFIG, feature_dtype="int4")
  with pytest.raises(ValueError, match="worker_index: got 2"):
    sets.write(sets.SAMPLES, tmp_path, worker=(2, 2))


def test_values_that_overflow_are_refused(tmp_path):
  nets = dataclasses.replace(fakes.nets(), semantic=Overflowing())
  with pytest.raises(ValueError, match="h_text: got a value that is not fin"):
    sets.write(sets.SAMPLES, tmp_path, nets=nets)


class Overflowing(fakes.FakeSemanticEncoder):
  def __call__(self, samples):
    h_image, h_text = super().__call__(samples)
    return h_image, h_text + 1e5
