"""Every format opens by name, with options given as text."""

import inspect
import re
import subprocess
import sys
import types
from typing import Any

import pytest

from unialign_jax.data.sources import base
from unialign_jax.data.sources import registry


def open_fake(
  root,
  *,
  part: str,
  number: int = 1,
  limit: float | None = 0.5,
  kinds: tuple[str, ...] = (),
):
  """A source that gives what it was opened with."""
  return root, part, number, limit, kinds


def open_over(root, *, number: int = 1, **rest: Any):
  return root, number, rest


def open_plain(root):
  return root


@pytest.fixture
def formats(monkeypatch):
  for name, function in (
    ("fake", open_fake),
    ("over", open_over),
    ("plain", open_plain),
  ):
    module = types.ModuleType(f"fake_{name}")
    module.open_source = function
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry.SOURCES, name, (module.__name__, "a test"))


@pytest.mark.parametrize("name", registry.SOURCES)
def test_every_format_is_whole(name):
  module = registry.module(name)
  assert module.__doc__
  assert name == module.NAME
  assert module.LICENSE and isinstance(module.LICENSE, str)
  assert registry.SOURCES[name][1]
  root, *options = inspect.signature(module.open_source).parameters.values()
  assert root.name == "root"
  for option in options:
    assert option.kind in (option.KEYWORD_ONLY, option.VAR_KEYWORD)
    assert option.annotation is not option.empty, option.name
    documented = rf"\n    (\*\*)?{option.name}: "
    assert re.search(documented, module.open_source.__doc__), option.name


def test_options_of_every_format_can_be_given_as_text():
  """The text of a default is the default."""
  for name in registry.SOURCES:
    function = registry.module(name).open_source
    options = {
      option.name: option.default
      for option in inspect.signature(function).parameters.values()
      if option.kind is option.KEYWORD_ONLY
      and option.default is not option.empty
    }
    texts = {
      option: ",".join(map(str, value))
      if isinstance(value, tuple)
      else str(value)
      for option, value in options.items()
    }
    required = {
      option.name: "x"
      for option in inspect.signature(function).parameters.values()
      if option.kind is option.KEYWORD_ONLY and option.default is option.empty
    }
    converted = registry._converted(name, function, texts | required)
    for option, value in options.items():
      got = converted[option]
      assert got == value or got == (value,), (name, option)


def test_formats_are_imported_when_asked_for():
  program = (
    "import sys\n"
    "from unialign_jax.data.sources import registry\n"
    "paths = [path for path, _ in registry.SOURCES.values()]\n"
    "assert len(paths) > 10\n"
    "assert not [path for path in paths if path in sys.modules]\n"
    "registry.module('folder')\n"
    "assert paths[list(registry.SOURCES).index('folder')] in sys.modules\n"
  )
  subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_names_list_the_known_ones():
  with pytest.raises(base.SourceError, match=r"'anyedlt'.*'anyedit'.*'x2i'"):
    registry.open_source("anyedlt", "data")


def test_texts_are_converted(formats):
  opened = registry.open_source(
    "fake", "data", part="7", number="3", limit="none", kinds="a,b"
  )
  assert opened == ("data", "7", 3, None, ("a", "b"))


def test_values_pass_as_they_are(formats):
  opened = registry.open_source("fake", "data", part="x", limit=1, kinds=["a"])
  assert opened == ("data", "x", 1, 1, ["a"])


def test_bad_values_name_source_option_and_type(formats):
  with pytest.raises(base.SourceError, match=r"fake.*number.*'x'.*int"):
    registry.open_source("fake", "data", part="x", number="x")


def test_unknown_options_list_the_known_ones(formats):
  with pytest.raises(base.SourceError) as error:
    registry.open_source("fake", "data", part="x", nmber="3")
  for text in ("number=1", "limit=0.5", "no ['nmber']"):
    assert text in str(error.value)
  with pytest.raises(base.SourceError, match="expected no option"):
    registry.open_source("plain", "data", number="3")


def test_required_options(formats):
  with pytest.raises(base.SourceError, match=r"\['part'\] must be given"):
    registry.open_source("fake", "data", number=3)


def test_options_are_handed_on(formats):
  opened = registry.open_source("over", "data", number="3", other="4")
  assert opened == ("data", 3, {"other": "4"})
