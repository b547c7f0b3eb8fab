"""Plans by the real TPU compiler, for slices that are not here."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from unialign_jax import config as config_lib
from unialign_jax import sharding
from unialign_jax.models import mmdit
from unialign_jax.planning import chips
from unialign_jax.planning import collectives
from unialign_jax.planning import compiled
from unialign_jax.planning import estimate
from unialign_jax.planning import planner
from unialign_jax.training import program as program_lib

SMALL = pathlib.Path(__file__).parent / "small.py"
needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="libtpu, the TPU compiler, has no wheel for this platform",
)


def _config(**model: str) -> config_lib.Config:
  values = config_lib.load_file(str(SMALL))
  values.model.update(model)
  return planner.as_planned(values)


def _plan(*flags: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-m", "unialign_jax.plan", f"--config={SMALL}", *flags],
    env={**os.environ, "PYTHONPATH": str(SMALL.parents[2])},
    capture_output=True,
    text=True,
  )


@needs_libtpu
@pytest.mark.parametrize("topology", ["v5e:2x2", "v6e:2x2"])
def test_train_and_sample_compile_for_a_slice(topology: str):
  done = _plan(f"--topology={topology}", "--json", "--sample_batch=8")
  assert done.returncode == 0, done.stderr
  told = json.loads(done.stdout)
  assert told["chips"] == 4 and told["fits"]
  assert [shape["num_cond"] for shape in told["shapes"]] == [0, 1]
  for shape in told["shapes"]:
    assert 0 < shape["peak"] < told["chip"]["memory"]
    assert shape["bytes_sent"]["all-gather"] > 0
    assert 0 < shape["mfu_bound"] <= 1
  assert told["sampler"]["peak"] > 0
  # What the partitioner says when it gives up.
  assert "nvoluntary full rematerialization" not in done.stderr


@needs_libtpu
def test_slices_are_neighbours_along_data_alone():
  from jax.experimental import topologies

  compiled.slice_mesh("v5e:2x2", _config())  # readies libtpu
  two = topologies.get_topology_desc("v5e:2x2", platform="tpu", num_slices=2)
  for sizes in ((2, -1, 1), (4, 1, 2)):
    mesh = sharding.make_mesh(*sizes, devices=two.devices)
    half = sizes[0] // 2
    for index, places in enumerate((mesh.devices[:half], mesh.devices[half:])):
      assert {chip.slice_index for chip in places.flat} == {index}
  with pytest.raises(ValueError, match=r"config\.mesh\.data: got 1 for 2"):
    sharding.make_mesh(1, 8, 1, devices=two.devices)


@needs_libtpu
def test_a_chip_of_two_cores_is_one_device():
  mesh = compiled.slice_mesh("v4:2x2x1", _config())
  assert mesh.size == 4


@pytest.fixture(scope="module")
def footprint() -> compiled.Footprint:
  config = _config(remat="attention")
  mesh = compiled.slice_mesh("v5e:2x2", config)
  return compiled.train_step(config, mesh, 0, {})


@needs_libtpu
def test_attention_is_not_done_again(footprint: compiled.Footprint):
  """Both passes: a forward kernel, and two of the backward pass.

  Its output and log-sum-exp are saved, so remat needs no second forward one.
  """
  assert footprint.num_kernels == 2 * 3


@needs_libtpu
def test_no_stack_of_parameters_is_gathered_whole(
  footprint: compiled.Footprint,
):
  """Layers are gathered one by one, as FSDP means it."""
  params = mmdit.abstract_params(_config().model)
  stacks = {leaf.shape for leaf in jax.tree.leaves(params["blocks"])}
  gathered = {
    shape
    for one in footprint.collectives
    if one.kind == "all-gather"
    for _, shape in one.shapes
  }
  assert gathered and not gathered & stacks


def test_no_device_gets_the_tokens_of_all_examples():
  """Weights and gradients go between devices, and what InfoNCE pools.

  On CPUs, where no kernel of attention says how its operands are shared out.
  """
  config = _config()
  mesh = sharding.make_mesh(1, -1, 1, devices=jax.devices()[:4])
  frozen = program_lib.abstract_frozen(config, mesh, None)
  program = program_lib.build(config, mesh, text_model=None, frozen=frozen)
  batch = program_lib.abstract_batch(config, mesh, 0)
  hlo = program.trace(frozen, batch).lower().compile().as_text()
  data = config.data
  lengths = {data.text_length, 64, 64 + data.text_length}
  moved = {shape for one in collectives.read(hlo) for _, shape in one.shapes}
  assert any(len(shape) > 1 for shape in moved)
  assert not {
    shape
    for shape in moved
    if len(shape) > 2 and shape[0] == data.batch_size and shape[1] in lengths
  }


@needs_libtpu
def test_what_does_not_fit_is_told_before_anything_runs():
  done = _plan(
    "--topology=v5e:2x2", "--conditions=1", "--config.data.batch_size=32768"
  )
  assert done.returncode == 1
  assert "does NOT fit: needs" in done.stdout
  assert "Traceback" not in done.stderr


def test_search_takes_the_lightest_that_fits(monkeypatch: pytest.MonkeyPatch):
  """A compiler by formula in place of the real one."""
  needed = dict(zip(planner.REMATS, (9, 6, 4, 2, 1)))  # a record and device

  def compile_by_formula(
    config: config_lib.Config, mesh: object, num_cond: int, options: dict
  ) -> compiled.Footprint:
    assert num_cond == 1  # the longest sequence
    size = config.data.batch_size // 4 * needed[config.model.remat]
    return compiled.Footprint(
      arguments=0,
      temporaries=size,
      peak=size,
      fits=size <= 30,
      collectives=None,
      num_kernels=0,
      seconds=0,
    )

  mesh = jax.sharding.AbstractMesh((1, 4, 1), ("data", "fsdp", "tensor"))
  monkeypatch.setattr(compiled, "slice_mesh", lambda *args: mesh)
  monkeypatch.setattr(compiled, "train_step", compile_by_formula)
  found = planner.search(_config(), "v5e:2x2", (0, 1))
  # 16 records are 4 a device: 4 x 9 does not fit in 30, 4 x 6 does.
  assert found.config.model.remat == "attention_qkv_mlp"
  assert found.config.data.batch_size == 16
  assert "remat none: batch 8 fits at most" in found.told
  assert "remat full: batch 64 fits at most" in found.told
  needed |= dict.fromkeys(planner.REMATS, 31)
  with pytest.raises(ValueError, match="no remat policy fits batch 16"):
    planner.search(_config(), "v5e:2x2", (0, 1))


def test_gpus_are_planned_by_formula():
  config = _config()
  plan = planner.plan(config, "h100:8", {0: 1.0, 1: 3.0})
  assert plan.mesh == {
    "data": 1,
    "fsdp": 8,
    "tensor": 1,
    "sequence": 1,
  }
  (none, one) = plan.rows
  assert none.footprint is None and one.share == 3.0
  assert one.time.model_flops > none.time.model_flops
  # Four fp32 copies: parameters, their average, two moments.
  assert plan.state.optimizer == pytest.approx(2 * plan.state.params, rel=0.01)
  assert "stage of 80000 steps" in plan.text()
  assert plan.days_at(0.5) == pytest.approx(plan.days_at(1.0) * 2)


def test_lighter_remat_repeats_less():
  shares = [
    estimate.recomputed(_config(remat=remat).model, 64, 64)
    for remat in planner.REMATS
  ]
  assert shares[0] == 0 and shares[-1] == 1
  assert shares == sorted(shares)


def test_t5_in_the_step_is_shared_out():
  values = config_lib.load_file(str(SMALL))
  values.data.text_features = "online"
  config = planner.as_planned(values)
  per_chip = {
    count: planner.plan(config, f"h100:{count}", {0: 1.0}).state.text_encoder
    for count in (4, 8)
  }
  assert per_chip[4] == 2 * per_chip[8] > 0


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--topology=v9:2x2",), "--topology: got 'v9:2x2', expected a chip of"),
    (("--topology=h100:8", "--search"), "expected a TPU slice"),
    (("--topology=h100:8", "--conditions=one"), "expected N or N:SHARE"),
    (("--topology=h100:5",), "is not a multiple of mesh.fsdp = 5"),
  ],
)
def test_wrong_flags(flags: tuple[str, ...], message: str):
  done = _plan(*flags)
  assert done.returncode == 1
  assert message in done.stderr
  assert "Traceback" not in done.stderr


def test_slices():
  assert chips.parse("v5p:4x4x4") == (chips.CHIPS["v5p"], 64)
  with pytest.raises(ValueError, match="v5e:8x8"):
    chips.parse("v5e")
