"""ImgEdit-Bench's folder: a picture a key, all in one place."""

from collections.abc import Sequence

from unialign_jax.evals import benchmark
from unialign_jax.evals.imgedit import dataset


def edited(item: dataset.Item) -> str:
  """Path of the result, relative to the folder of results."""
  return f"{item.key}.png"


def wanted(items: Sequence[dataset.Item], seed: int) -> list[benchmark.Wanted]:
  """The results; sources are squashed, so that nothing of them is cut off."""
  return [
    benchmark.Wanted(
      path=edited(item),
      text=item.prompt,
      images=(item.picture,),
      seed=seed,
      group=item.kind,
      framing="squash",
    )
    for item in items
  ]
