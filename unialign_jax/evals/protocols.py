"""The two ways in which the official scores of a benchmark are computed.

"repaired" counts what is missing and mends what docs/benchmarks.md lists;
"compat" computes what the official scripts compute, for comparison with
published numbers.
"""

REPAIRED = "repaired"
COMPAT = "compat"
ALL = (REPAIRED, COMPAT)

# For results that come from the official scorer's files.
NOTE = (
  "Verdicts are the official scorer's. Columns named as released are computed"
  " as its scripts do; the others with the repairs that docs/benchmarks.md"
  " lists."
)


def chosen(protocol: str, compat: bool) -> str:
  """The protocol of `--protocol` and `--set compat`.

  Args:
    protocol: "" where it was not given.
    compat: whether it was asked for by that name.

  Raises:
    ValueError: an unknown one, or two that differ.
  """
  if protocol not in ("", REPAIRED, COMPAT):
    raise ValueError(
      f"--protocol: got {protocol!r}, expected {REPAIRED} or {COMPAT}."
    )
  if protocol == REPAIRED and compat:
    raise ValueError(
      f"--set compat=true: got it with --protocol={REPAIRED}, expected one of"
      " them."
    )
  return COMPAT if compat else protocol or REPAIRED
