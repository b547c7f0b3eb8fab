"""Reads the command lines that launchers start, as train.py reads them."""

import sys
from collections.abc import Sequence

import ml_collections
import pytest
from absl import flags
from ml_collections import config_flags

from unialign_jax import command_line
from unialign_jax import config as config_lib


def train_words(command: Sequence[str]) -> list[str]:
  """The words for train.py, at the end of a command."""
  return list(command[list(command).index("unialign_jax.train") + 1 :])


def parse(words: Sequence[str]) -> tuple[config_lib.Config, str]:
  """The checked config and the workdir.

  Raises:
    Exception: a flag or key that is unknown, a value that does not fit.
  """
  values = flags.FlagValues()
  argv = command_line.find_config(["train", *words])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "argv", argv)  # config_flags looks there for keys
    config_flags.DEFINE_config_file("config", flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    rest = values(argv)
  assert rest == ["train"], rest
  assert isinstance(values.config, ml_collections.ConfigDict)
  return config_lib.from_dict(values.config), values.workdir
