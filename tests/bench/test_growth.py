"""Exponents, what changes along a curve, and the command."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.bench import small_step
from unialign_jax.bench import growth
from unialign_jax.bench import growth_report


def _point(number: int, seconds: float, flops: float) -> growth_report.Point:
  return growth_report.Point(
    number=number,
    steps=[seconds],
    flops=flops,
    compile_seconds=1.0,
    peak=None,
  )


def test_exponents() -> None:
  points = [_point(n, 3.0 * n**1.5, 7.0 * n**2) for n in (1, 2, 8)]
  curve = growth_report.Curve(what="batch", points=points)
  assert curve.exponents() == pytest.approx((1.5, 2.0))
  alone = growth_report.Curve(what="blocks", points=points[:1])
  assert alone.exponents() is None
  text = growth_report.table([curve, alone])
  assert "batch: the step grows with exponent 1.50, its FLOPs with 2.00" in text
  assert "blocks: " not in text
  growth_report.draw([curve, alone])


def test_what_changes() -> None:
  config = small_step.config()

  def seen(what: str, given: list[int]) -> dict[int, tuple[int, ...]]:
    return {
      number: (
        each.data.batch_size,
        each.data.resolution,
        each.data.text_length,
        each.model.depth,
        each.model.align_depth,
      )
      for number, each in growth.variants(config, what, given).items()
    }

  assert seen("batch", []) == {n: (n, 32, 8, 2, 1) for n in (1, 2, 4, 8)}
  assert seen("image tokens", []) == {
    n * n: (4, 16 * n, 8, 2, 1) for n in (1, 2, 4)
  }
  assert seen("image tokens", [48]) == {9: (4, 48, 8, 2, 1)}
  assert seen("text tokens", [3]) == {3: (4, 32, 3, 2, 1)}
  assert seen("blocks", [1, 6]) == {n: (4, 32, 8, n, 1) for n in (1, 6)}
  with pytest.raises(ValueError, match=r"config\.data\.resolution"):
    growth.variants(config, "image tokens", [40])


@pytest.mark.slow
def test_command(tmp_path: pathlib.Path) -> None:
  file = tmp_path / "out.json"
  done = subprocess.run(
    [
      *(sys.executable, "-m", "unialign_jax.bench", "growth"),
      *small_step.flags(),
      *("--batch_sizes=4", "--resolutions=32", "--text_lengths=8"),
      *("--depths=2", "--devices=1,2", "--repeats=2"),
      *(f"--json={file}", f"--plot={tmp_path / 'out'}"),
    ],
    env={**os.environ, "TMPDIR": str(tmp_path)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  curves = {c["what"]: c for c in json.loads(file.read_text())["curves"]}
  assert list(curves) == [
    *("batch", "image tokens", "text tokens", "blocks", "devices")
  ]
  (first,) = curves["batch"]["points"]
  one, two = curves["devices"]["points"]
  # The same config is measured once.
  assert first["steps"] == one["steps"] != two["steps"]
  assert curves["devices"]["flops_exponent"] == pytest.approx(0)
  assert "| devices | 2 |" in done.stdout
  assert (tmp_path / "out").read_bytes().startswith(b"\x89PNG")
