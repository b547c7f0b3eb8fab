"""The stage files: what they say of themselves is computed here again."""

import collections
import pathlib
import re
import runpy

import pytest

from unialign_jax import command_line
from unialign_jax import config as config_lib
from unialign_jax.data.sources import registry
from unialign_jax.features import storage
from unialign_jax.training import flops

STAGES = ("stage1.py", "stage2.py", "stage3.py")
CHIPS = {
  "v5e": "TPU v5e",
  "v5p": "TPU v5p",
  "v6e": "TPU v6e",
  "H100": "NVIDIA H100 80GB HBM3",
}
MFU = 0.4


def _load(name: str) -> config_lib.Config:
  values = config_lib.load_file(name)
  values.encoders.text = values.encoders.text or "somewhere"
  return config_lib.from_dict(values)


def _globals(name: str) -> dict:
  return runpy.run_path(str(config_lib.find_file(name)))


@pytest.mark.parametrize("name", STAGES)
def test_hours_in_the_docstring_are_the_formulas(name: str) -> None:
  config = _load(name)
  conditions = collections.Counter()
  for _, share, num_cond in _globals(name)["SOURCES"]:
    conditions[num_cond] += share
  work = flops.run(
    config.model,
    steps=config.train.steps,
    batch_size=config.data.batch_size,
    target_tokens=(config.data.latent_side // config.model.patch_size) ** 2,
    text_tokens=config.data.text_length,
    conditions=conditions,
    t5_config=storage.T5_XXL,
  )
  text = " ".join(_globals(name)["__doc__"].split())
  said = dict(
    reversed(pair)
    for pair in re.findall(r"([\d.]+) h on 64 (?:TPU )?(\w+)", text)
  )
  assert said == {
    chip: f"{work / (MFU * 64 * flops.PEAK_FLOPS[kind]) / 3600:.1f}"
    for chip, kind in CHIPS.items()
  }


def test_t5_xxl_counts_two_flops_a_weight_and_token() -> None:
  weights = 24 * (4 * 4096 * 4096 + 3 * 4096 * 10240)
  attention = 24 * 4 * 4096 * 256
  assert flops.text_encoder(storage.T5_XXL, 256) == 256 * (
    2 * weights + attention
  )


@pytest.mark.parametrize("name", STAGES)
def test_shares_sum_to_one(name: str) -> None:
  shares = [share for _, share, _ in _globals(name)["SOURCES"]]
  assert sum(shares) == pytest.approx(1.0)
  assert _load(name).data.sources == tuple(
    source[:2] for source in _globals(name)["SOURCES"]
  )


def test_stages_go_on_from_one_another() -> None:
  starts = [_load(name).train.init_from for name in STAGES]
  assert starts == ["", "runs/stage1", "runs/stage2"]
  assert [_load(name).train.steps for name in STAGES] == [80000, 80000, 30000]
  assert all(_load(name).data.batch_size == 256 for name in STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_tiny_keeps_what_makes_the_stage(name: str) -> None:
  full, tiny = _load(name), _load(f"{name}:tiny")
  assert tiny.data.sources == full.data.sources
  assert tiny.loss == full.loss and tiny.diffusion == full.diffusion
  assert tiny.train.init_from == full.train.init_from
  assert tiny.model.width < 100 and tiny.train.steps < 100
  assert pathlib.Path(tiny.encoders.text).is_dir()  # ships with the package


def test_unknown_variant_names_the_known() -> None:
  with pytest.raises(ValueError, match=r"'small'.*tiny"):
    config_lib.load_file("stage1.py:small")


def test_variant_reaches_the_file_from_the_command_line() -> None:
  words = ["train", "--config=stage2.py:tiny", "--config"]
  found = command_line.find_config(words)
  assert found[1].endswith("/configs/stage2.py:tiny")
  assert pathlib.Path(found[1][len("--config=") : -len(":tiny")]).is_file()
  both = command_line.find_config(["train", "--config", "stage1.py"])
  assert both[2].endswith("/configs/stage1.py")


@pytest.mark.parametrize("name", STAGES)
def test_every_source_has_an_importer_and_its_command(name: str) -> None:
  docs = pathlib.Path(__file__).parents[1] / "docs/stages.md"
  joined = docs.read_text(encoding="utf-8").replace("\\\n", "")
  pairs = re.findall(r"--source=(\w+) .*?--out=\S*/(\w+)", joined)
  importers = {folder: source for source, folder in pairs}
  for folder, _, _ in _globals(name)["SOURCES"]:
    assert importers[folder] in registry.SOURCES, folder
