"""What the package may not do anywhere, read from its own source.

A new file cannot bring back what a test of another file rules out.
"""

import ast
import pathlib
from collections.abc import Iterator

import pytest

import unialign_jax

PACKAGE = pathlib.Path(unialign_jax.__file__).parent
# Run code, or unpack what they are given, wherever that comes from.
FORBIDDEN = {
  *("eval", "exec", "compile", "__import__"),
  *("os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads"),
  *("shelve.open", "joblib.load", "dill.load", "dill.loads"),
  *("yaml.load", "yaml.unsafe_load"),
  *("shutil.unpack_archive", "tarfile.open", "zipfile.ZipFile"),
}
# (file, call) that are meant: they do not read what others wrote.
MEANT = {("bench/fuzz_seeds.py", "tarfile.open")}
# Reads a folder that the same command has exported, code included.
RUNS_ITS_OWN_CODE = {"bench/samplers.py"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
  for path in sorted(PACKAGE.rglob("*.py")):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
      if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        yield path.relative_to(PACKAGE).as_posix(), name, node


def keywords(call: ast.Call) -> dict[str, str]:
  return {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}


@pytest.fixture(scope="module")
def found() -> list[tuple[str, str, ast.Call]]:
  found = list(calls())
  assert len(found) > 5000
  return found


def test_nothing_runs_or_unpacks_what_it_is_given(found):
  used = {(file, name) for file, name, _ in found if name in FORBIDDEN}
  assert used - MEANT == set()
  assert MEANT - used == set()  # no longer than it is needed


def test_every_picture_is_opened_with_a_list_of_formats(found):
  opened = [
    (file, keywords(call)) for file, name, call in found if name == "Image.open"
  ]
  assert opened
  for file, options in opened:
    assert "formats" in options, file


def test_pytorch_files_are_read_as_tensors_alone(found):
  loads = [(f, keywords(c)) for f, name, c in found if name == "torch.load"]
  assert loads
  for file, options in loads:
    assert options.get("weights_only") == "True", file


def test_numpy_files_are_read_as_numbers_alone(found):
  for file, name, call in found:
    if name in ("np.load", "numpy.load"):
      assert keywords(call).get("allow_pickle", "False") == "False", file


def test_models_of_others_bring_no_code_and_no_pickles(found):
  for file, name, call in found:
    options = keywords(call)
    # The first goes with an exported folder.
    if file.startswith("convert/pytorch/") or file in RUNS_ITS_OWN_CODE:
      continue
    assert options.get("trust_remote_code", "False") == "False", file
    assert options.get("use_safetensors", "True") == "True", file
    is_model = name.endswith(".from_pretrained") and not any(
      kind in name for kind in ("Tokenizer", "Config", "Processor")
    )
    is_read_here = "state_dict" in options  # the tensors are ours already
    if is_model and not is_read_here:
      assert options.get("use_safetensors") == "True", (file, name)


def test_no_shell_is_started(found):
  for file, name, call in found:
    options = keywords(call)
    assert options.get("shell", "False") == "False", (file, name)


def test_the_environment_is_not_written_down_whole(found):
  """It holds keys."""
  for file, name, call in found:
    for argument in [*call.args, *(k.value for k in call.keywords)]:
      text = ast.unparse(argument)
      is_whole = text in ("os.environ", "dict(os.environ)", "environ")
      if is_whole:
        raise AssertionError(f"{file}: {name}({text})")
