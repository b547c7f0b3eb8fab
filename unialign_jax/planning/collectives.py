"""What a compiled program sends between chips, read off its HLO text.

XLA's own cost analysis counts the body of a loop once and no bytes over the
interconnect, so: find every collective, how often the loops around it run,
and what an algorithm that uses the bandwidth fully sends per chip.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
_BYTES = {
  **dict.fromkeys(("pred", "s8", "u8", "f8e4m3fn", "f8e5m2"), 1),
  **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
  **dict.fromkeys(("f32", "s32", "u32"), 4),
  **dict.fromkeys(("f64", "s64", "u64"), 8),
}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_WHILE = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALLS = re.compile(
  r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_TRIPS = re.compile(r"s32\[\]\S* constant\((\d+)\)")
_SOURCE = re.compile(r'op_name="([^"]*)"')
_CHANNEL = re.compile(r"channel_id=(\d+)")
# XLA's name for a computation in which an all-reduce is sliced at once.
_SCATTER = "all-reduce-scatter"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
  """One of a program's.

  Attributes:
    kind: one of `KINDS`.
    shapes: (dtype, dimensions) of what comes out.
    size: bytes of the whole that is gathered, reduced or moved.
    group: chips that take part together.
    times: how often a step runs it.
    source: `op_name` of the code it comes from.
  """

  kind: str
  shapes: tuple[tuple[str, tuple[int, ...]], ...]
  size: int
  group: int
  times: int
  source: str

  @property
  def bytes_sent(self) -> float:
    """By one chip in one step, by a ring that is fully used."""
    share = (self.group - 1) / self.group
    factor = {"all-reduce": 2 * share, "collective-permute": 1.0}
    return self.size * factor.get(self.kind, share) * self.times


def read(hlo: str) -> list[Collective]:
  """All collectives of a compiled module, `Compiled.as_text()`."""
  computations, entry = _split(hlo)
  times = _times(computations, entry)
  found: dict[str, Collective] = {}
  for name, lines in computations.items():
    for line in lines:
      for one in _collectives(line, name, times[name]):
        # Asynchronous forms repeat the instruction under the same channel;
        # what XLA fuses with slices all has one channel.
        channel = _CHANNEL.search(line)
        is_own = channel is None or name.startswith(_SCATTER)
        key = f"{name} {line}" if is_own else channel.group()
        if key not in found or one.times > found[key].times:
          found[key] = one
  return [one for one in found.values() if one.times and one.group > 1]


def by_kind(collectives: list[Collective]) -> dict[str, float]:
  """Bytes that a chip sends in one step, by kind; the largest first."""
  sums: dict[str, float] = collections.defaultdict(float)
  for one in collectives:
    sums[one.kind] += one.bytes_sent
  return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _split(hlo: str) -> tuple[dict[str, list[str]], str]:
  """Lines of every computation by its name, and the name of the entry."""
  computations: dict[str, list[str]] = {}
  entry, lines = "", []
  for line in hlo.splitlines():
    if header := _COMPUTATION.match(line):
      lines = computations.setdefault(header[2], [])
      entry = header[2] if header[1] else entry
    else:
      lines.append(line)
  return computations, entry


def _times(computations: dict[str, list[str]], entry: str) -> dict[str, int]:
  """How often each computation runs in one call of the module."""
  times = dict.fromkeys(computations, 0)

  def visit(name: str, count: int) -> None:
    times[name] += count
    for line in computations[name]:
      if loop := _WHILE.search(line):
        trips = _trips(computations[loop[1]])
        visit(loop[2], count * trips)
      else:
        called = _CALLS.findall(line)
        for branches in _BRANCHES.findall(line):
          called += [b.strip().lstrip("%") for b in branches.split(",")]
        for other in called:
          if other in computations:
            visit(other, count)

  visit(entry, 1)
  return times


def _trips(condition: list[str]) -> int:
  """Rounds of a counted loop: the bound that its condition compares with."""
  bounds = [int(n) for line in condition for n in _TRIPS.findall(line)]
  return max(bounds, default=1)


def _collectives(
  line: str, computation: str, times: int
) -> Iterator[Collective]:
  """The collective of a line, if it has one."""
  if not (found := _COLLECTIVE.search(line)):
    return
  result, kind = found.groups()
  shapes = tuple(
    (dtype, tuple(int(d) for d in dims.split(",") if d))
    for dtype, dims in _SHAPE.findall(result)
    if dtype in _BYTES
  )
  if f" {kind}-start(" in line and result.startswith("("):
    shapes = shapes[len(shapes) // 2 :]  # the first half is what goes in
  size = sum(_BYTES[dtype] * math.prod(dims) for dtype, dims in shapes)
  group = _group(line)
  if kind == "reduce-scatter":
    size *= group  # one chip's part comes out
  if kind == "all-reduce" and computation.startswith(_SCATTER):
    kind = "reduce-scatter"
  source = _SOURCE.search(line)
  yield Collective(
    kind=kind,
    shapes=shapes,
    size=size,
    group=group,
    times=times,
    source=source[1] if source else "",
  )


def _group(line: str) -> int:
  """Chips that take part together; HLO has three ways to say so."""
  if pairs := re.search(r"source_target_pairs=\{(.*?)\}\}", line):
    moved = re.findall(r"\{(\d+),(\d+)", pairs[0])
    return max(len(moved), 1)
  if mesh := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", line):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"\w+", mesh[2]))
  if tiled := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
    return int(tiled[1])
  if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
    return len(listed[1].split(","))
  return 1
