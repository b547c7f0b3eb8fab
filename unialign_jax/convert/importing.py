"""From published weights on this machine to a config and parameters."""

import dataclasses
import functools
import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from unialign_jax import config as config_lib
from unialign_jax.convert import dimensions
from unialign_jax.convert import fold_pooled
from unialign_jax.convert import mapping
from unialign_jax.convert import mmdit_table
from unialign_jax.convert import read
from unialign_jax.convert import sd3_single_file
from unialign_jax.convert import sources
from unialign_jax.models import positions

DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
  "float16": np.dtype(np.float16),
}
# Text encoder, tokenizer and autoencoder of all these models, unless the
# folder of the weights has them.
ENCODERS = "stabilityai/stable-diffusion-3-medium-diffusers"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
  """What one import gave.

  Attributes:
    config: full, from configs/base.py and the dimensions of the weights.
    params: numpy leaves, all of one dtype.
    new: what is initialised instead of loaded, one line each with the reason.
    left_out: what was in the files and is not used, likewise.
  """

  config: config_lib.Config
  params: Any
  new: Sequence[str]
  left_out: Sequence[str]


def convert(
  weights: read.Streamed,
  described: Mapping[str, Any],
  *,
  source: str,
  settings: Mapping[str, Mapping[str, Any]] | None = None,
  pooled_P: np.ndarray | None = None,
  dtype: str = "",
  seed: int = 0,
) -> Imported:
  """Weights of any source as ours; at most one tensor is read at a time.

  Args:
    weights: the transformer, or a single file of all of SD3.
    described: config.json of the transformer; empty for a single file.
    source: a key of `sources.SOURCES`.
    settings: keys of the config that come with the weights, by group.
    pooled_P: fold this pooled text embedding into the timestep embedding.
    dtype: a key of `DTYPES`; "" for that of the weights.
    seed: of what is new.

  Raises:
    ValueError: every missing, unexpected or misshapen tensor; or weights that
      are not what `source` and `described` say.
  """
  kind = sources.SOURCES[source]
  is_original = sd3_single_file.is_original(weights)
  left_out: dict[str, str] = {}
  named: sources.Weights = weights
  if is_original:
    named, left_out = sd3_single_file.in_diffusers_names(weights)
  ours = sources.in_our_names(named, kind)
  model = dimensions.of(ours, described, _base()["model"])
  sources.check(source, model)
  wanted = DTYPES[dtype or read.common_dtype(ours)]
  if pooled_P is not None:
    ours = fold_pooled.fold(ours, pooled_P)
  rules = _with_positions_checked(mmdit_table.rules(model), ours)
  ignored = sources.left_out(kind, folded=pooled_P is not None)
  left_out |= {f"{sources.POOLED}.*": row.reason for row in ignored}
  new = sources.new_names(ours, kind, model)
  complete = _Overlaid(
    ours,
    {
      n: functools.partial(sources.initial_value, n, model, wanted, seed)
      for n in new
    },
  )
  abstract = sources.abstract_params(model, wanted)
  try:
    params = mapping.to_flax([*rules, *ignored], complete, abstract)
  except ValueError as error:
    raise ValueError(_explained(str(error), is_original)) from error
  return Imported(
    config=_config(dataclasses.asdict(model), settings or {}),
    params=params,
    new=sources.notes(kind, model, new),
    left_out=[f"{name}: {reason}" for name, reason in left_out.items()],
  )


def _with_positions_checked(
  rules: Sequence[mapping.Rule | mapping.Ignored], weights: read.View
) -> list[mapping.Rule | mapping.Ignored]:
  """Compares the position table now, while the parameters are not yet there.

  In fp32 and fp64 it takes a third of the memory of a whole SD3 in bf16. The
  verdict is told with everything else that does not fit.
  """
  done = []
  for rule in rules:
    if isinstance(rule, mapping.Ignored) and mmdit_table.POSITIONS in weights:
      name = mmdit_table.POSITIONS
      verdict = rule.check(name, weights[name])
      rule = dataclasses.replace(rule, check=lambda *_, v=verdict: v)
    done.append(rule)
  positions.sincos_table.cache_clear()
  return done


class _Overlaid(Mapping[str, np.ndarray]):
  """Weights from files, and beside them some that are made when asked for."""

  def __init__(
    self,
    weights: read.View,
    fresh: Mapping[str, Callable[[], np.ndarray]],
  ):
    self._weights, self._fresh = weights, fresh

  def __getitem__(self, name: str) -> np.ndarray:
    if name == mmdit_table.POSITIONS:
      return np.zeros(0)  # checked already
    if name in self._fresh:
      return self._fresh[name]()
    return self._weights[name]

  def __contains__(self, name: object) -> bool:
    return name in self._fresh or name in self._weights

  def __iter__(self) -> Iterator[str]:
    yield from self._weights
    yield from self._fresh

  def __len__(self) -> int:
    return len(self._weights) + len(self._fresh)


def _explained(message: str, is_original: bool) -> str:
  if is_original:
    message = sd3_single_file.with_original_names(message)
  return f"{message}\nCheck --source, or fetch the model again."


def _base() -> dict[str, Any]:
  return config_lib.load_file("base.py").to_dict()


def _config(
  model: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]
) -> config_lib.Config:
  """configs/base.py with this network; a run brings its own data."""
  values = json.loads(json.dumps(_base()))
  values["model"] = dict(model)
  values["data"] |= {
    "sources": [["FEATURES", 1.0]],  # weights have none, a config needs one
    "mask_id": model["vocab_size"] - 1,  # <extra_id_0> is T5's last token
  }
  values["encoders"] |= {
    "text": f"{ENCODERS}/text_encoder_3",
    "tokenizer": f"{ENCODERS}/tokenizer_3",
    "image": f"{ENCODERS}/vae",
  }
  for group, keys in settings.items():
    values[group] |= keys
  data = values["data"]
  largest = (
    model["pos_embed_size"] * model["patch_size"] * data["latent_factor"]
  )
  data["resolution"] = min(data["resolution"], largest)
  return config_lib.from_dict(values)
