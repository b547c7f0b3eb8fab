"""`unialign_jax.train` with a pause before each batch, to send signals in."""

import time

import numpy as np

from unialign_jax import train
from unialign_jax.data import pipeline

SECONDS = 0.4


def main() -> None:
  read = pipeline.Batches.__next__

  def read_slowly(self: pipeline.Batches) -> dict[str, np.ndarray]:
    time.sleep(SECONDS)
    return read(self)

  pipeline.Batches.__next__ = read_slowly
  train.cli()


if __name__ == "__main__":
  main()
