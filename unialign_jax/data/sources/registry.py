"""The formats by name. A format's module is imported when it is asked for."""

import importlib
import inspect
import os
import types
import typing
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from unialign_jax.data.sources import base
from unialign_jax.data.sources import option_text

_PACKAGE = "unialign_jax.data.sources"

# Name -> path of the module, description.
SOURCES: Mapping[str, tuple[str, str]] = {
  name: (f"{_PACKAGE}.{module}", description)
  for name, module, description in (
    ("anyedit", "anyedit", "AnyEdit: edits, with captions (parquet)"),
    ("blip3o", "blip3o", "BLIP3o 60k and pretraining sets: T2I (tars)"),
    ("folder", "folder", "pictures in a folder, with their captions: T2I"),
    ("imgedit", "imgedit", "ImgEdit: edits, one or several turns (parquet)"),
    (
      "llava_onevision",
      "llava_onevision",
      "LLaVA-OneVision: questions and answers about pictures (parquet)",
    ),
    ("magicbrush", "magicbrush", "MagicBrush: edits by hand (parquet)"),
    ("omniedit", "omniedit", "OmniEdit-Filtered-1.2M: edits (parquet)"),
    (
      "perception_maps",
      "perception_maps",
      "canny and other maps, made of another source's pictures",
    ),
    ("promptfix", "promptfix", "PromptFix: restoration as edits (parquet)"),
    (
      "seed_data_edit",
      "seed_data_edit",
      "SEED-Data-Edit parts 1 to 3: edits (lists and pictures)",
    ),
    (
      "sharegpt4o_image",
      "sharegpt4o_image",
      "ShareGPT-4o-Image: T2I and edits (lists and tars)",
    ),
    (
      "subjects200k",
      "subjects200k",
      "Subjects200K: personalisation, in both directions (parquet)",
    ),
    (
      "text_to_image_2m",
      "text_to_image_2m",
      "Text-to-Image-2M: T2I (tars)",
    ),
    ("tfds", "tfds_source", "any TensorFlow Datasets set, by feature names"),
    (
      "unialign_jsonl",
      "unialign_jsonl",
      "the UniAlignment authors' lists of T2I, edits and compositions",
    ),
    (
      "uniworld",
      "uniworld",
      "UniWorld-V1: edits, perception, extraction (lists and pictures)",
    ),
    ("x2i", "x2i", "X2I: personalisation and others (lists and pictures)"),
  )
}


def module(name: str) -> types.ModuleType:
  """The module of a format.

  Raises:
    SourceError: there is no format of that name.
  """
  if name not in SOURCES:
    raise base.SourceError(
      f"got source {name!r}, expected one of {sorted(SOURCES)}"
    )
  return importlib.import_module(SOURCES[name][0])


def open_source(
  name: str, root: str | os.PathLike, **options: Any
) -> base.Source:
  """Opens a data set.

  Args:
    name: One of `SOURCES`.
    root: Where the data set's files are, local or gs://.
    **options: Of the format's own `open_source`. Texts, as a command line
      gives them, become what its annotations say: see `option_text.parse`.

  Raises:
    SourceError: an unknown name or option, a value that is not of the
      option's type, or what the format itself raises.
  """
  function = module(name).open_source
  return function(root, **_converted(name, function, options))


def _converted(
  name: str, function: Callable[..., base.Source], options: Mapping[str, Any]
) -> dict[str, Any]:
  _, *parameters = inspect.signature(function).parameters.values()
  # A format over another source hands on the options that it does not know.
  hands_on = any(p.kind is p.VAR_KEYWORD for p in parameters)
  known = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
  unknown = sorted(set(options) - set(known))
  missing = sorted(p.name for p in known.values() if p.default is p.empty)
  missing = [option for option in missing if option not in options]
  if missing or (unknown and not hands_on):
    raise base.SourceError(
      f"source {name}: got options {sorted(options)}, expected"
      f" {_listed(known.values())}"
      + (f"; {missing} must be given" if missing else "")
      + (f"; there is no {unknown}" if unknown and not hands_on else "")
    )
  hints = typing.get_type_hints(function)
  converted = {}
  for option, value in options.items():
    if isinstance(value, str) and option in known:
      hint = hints.get(option, type(known[option].default))
      value = _parsed(name, option, value, hint)
    converted[option] = value
  return converted


def _parsed(name: str, option: str, text: str, hint: Any) -> Any:
  try:
    return option_text.parse(text, hint)
  except ValueError as e:
    raise base.SourceError(f"source {name}, option {option}: {e}") from e


def _listed(parameters: typing.Iterable[inspect.Parameter]) -> str:
  texts = [
    parameter.name
    if parameter.default is parameter.empty
    else f"{parameter.name}={parameter.default!r}"
    for parameter in parameters
  ]
  return f"some of ({', '.join(texts)})" if texts else "no option"
