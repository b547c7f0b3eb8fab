"""How far two scorers agree about the same samples."""

import dataclasses
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence

from unialign_jax.evals import benchmark


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
  """Of two scorers' verdicts.

  Attributes:
    both: samples that both gave a verdict on.
    equal: share of them with the same one; None where `both` is 0.
    kappa: Cohen's: (equal - chance) / (1 - chance), where chance is how often
      two scorers of the same habits would agree by luck; None where there is
      nothing but luck: both always say the same one thing.
  """

  both: int
  equal: float | None
  kappa: float | None


def between(
  first: Mapping[Hashable, Hashable], second: Mapping[Hashable, Hashable]
) -> Agreement:
  """Compares the verdicts on the samples that both have.

  Args:
    first: verdicts by sample.
    second: likewise.
  """
  shared = sorted(set(first) & set(second), key=repr)
  if not shared:
    return Agreement(both=0, equal=None, kappa=None)
  pairs = [(first[sample], second[sample]) for sample in shared]
  equal = sum(a == b for a, b in pairs) / len(pairs)
  verdicts = {verdict for pair in pairs for verdict in pair}
  chance = sum(
    _share(verdict, [a for a, _ in pairs])
    * _share(verdict, [b for _, b in pairs])
    for verdict in verdicts
  )
  kappa = None if chance == 1 else (equal - chance) / (1 - chance)
  return Agreement(both=len(pairs), equal=equal, kappa=kappa)


def scores(
  first: Mapping[Hashable, Hashable],
  second: Mapping[Hashable, Hashable],
  expected: int,
) -> list[benchmark.Score]:
  """`between` as two numbers of a table."""
  found = between(first, second)
  return [
    benchmark.Score(
      group="Agreement",
      metric=metric,
      value=value,
      scored=found.both,
      expected=expected,
    )
    for metric, value in (
      ("equal verdicts", found.equal),
      ("Cohen's kappa", found.kappa),
    )
  ]


def _share(verdict: Hashable, verdicts: Sequence[Hashable]) -> float:
  return sum(v == verdict for v in verdicts) / len(verdicts)
