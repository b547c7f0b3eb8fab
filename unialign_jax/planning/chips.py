"""What one chip can hold and do, by its makers' published numbers."""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """One accelerator.

  Attributes:
    name: as in `CHIPS`.
    memory: bytes that a program can use.
    flops: dense bfloat16 FLOP/s.
    memory_bandwidth: bytes a second from its memory.
    link_bandwidth: bytes a second that it sends to its neighbours, all links
      together, one way.
    is_tpu: compiled for; the others are planned by formula.
  """

  name: str
  memory: float
  flops: float
  memory_bandwidth: float
  link_bandwidth: float
  is_tpu: bool = True


# Memory of TPUs: what libtpu's compiler lets a program have. Links: 2 or 3
# dimensions of a torus; NVLink for the GPUs, within one node.
CHIPS = {
  chip.name: chip
  for chip in (
    Chip(
      name="v4",
      memory=30.75 * GIB,
      flops=275e12,
      memory_bandwidth=1.2e12,
      link_bandwidth=300e9,
    ),
    Chip(
      name="v5e",
      memory=15.75 * GIB,
      flops=197e12,
      memory_bandwidth=0.82e12,
      link_bandwidth=200e9,
    ),
    Chip(
      name="v5p",
      memory=95.74 * GIB,
      flops=459e12,
      memory_bandwidth=2.77e12,
      link_bandwidth=600e9,
    ),
    Chip(
      name="v6e",
      memory=31.25 * GIB,
      flops=918e12,
      memory_bandwidth=1.64e12,
      link_bandwidth=448e9,
    ),
    Chip(
      name="h100",
      memory=79 * GIB,
      flops=989e12,
      memory_bandwidth=3.35e12,
      link_bandwidth=450e9,
      is_tpu=False,
    ),
    Chip(
      name="h200",
      memory=139 * GIB,
      flops=989e12,
      memory_bandwidth=4.8e12,
      link_bandwidth=450e9,
      is_tpu=False,
    ),
  )
}


def parse(topology: str) -> tuple[Chip, int]:
  """Chip and number of chips of `v5e:8x8` or `h100:32`.

  Raises:
    ValueError: an unknown chip, or a shape that is no product of numbers.
  """
  name, _, shape = topology.partition(":")
  sides = shape.split("x")
  if name not in CHIPS or not all(s.isdigit() and int(s) for s in sides):
    raise ValueError(
      f"--topology: got {topology!r}, expected a chip of {sorted(CHIPS)} and a"
      " shape, as v5e:8x8, v5p:4x4x4 or h100:32."
    )
  count = 1
  for side in sides:
    count *= int(side)
  return CHIPS[name], count
