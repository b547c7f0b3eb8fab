"""The page in a real browser: each tab clicked through.

With UNIALIGN_SCREENSHOTS=docs the pictures of the README are made anew. Needs
a Chromium of the system; where UNIALIGN_CHROMIUM names one it has to be there.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from unialign_jax.shapes import feature_sets
from unialign_jax.shapes import tasks
from unialign_jax.use import outputs

sync_api = pytest.importorskip("playwright.sync_api")
gradio_client = pytest.importorskip("gradio_client")
httpx = pytest.importorskip("httpx")

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# No profile, no sandbox for root, and nothing that asks other hosts.
_ARGUMENTS = (
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
)
_PATIENCE = 40_000  # ms, of which the first picture of a tab compiles


@pytest.fixture(scope="module")
def chromium() -> str:
  named = os.environ.get("UNIALIGN_CHROMIUM")
  names = (named,) if named else _NAMES
  found = next(filter(None, map(shutil.which, names)), None)
  assert found or not named, f"UNIALIGN_CHROMIUM: {named} is not on PATH"
  if not found:
    pytest.skip(f"got no browser on PATH, expected one of {_NAMES}")
  return found


@pytest.fixture(scope="module")
def server(
  tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, pathlib.Path]]:
  """Address of the page as a user starts it, and its temporary files."""
  folder = tmp_path_factory.mktemp("demo")
  process = subprocess.Popen(
    [
      *(sys.executable, "-m", "unialign_jax.demo", "--port=0"),
      *("--max_upload_mb=0.1", "--max_megapixels=0.1"),
    ],
    env={**os.environ, "XDG_CACHE_HOME": str(folder), "TMPDIR": str(folder)},
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert found, line
    yield found.group(), folder
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert not list(folder.glob("unialign-demo-*"))
  finally:
    process.kill()
    process.wait()


@pytest.fixture
def page(
  chromium: str, server: tuple[str, pathlib.Path]
) -> Iterator["sync_api.Page"]:
  """The page just opened; it may ask no other server for anything."""
  url, _ = server
  with sync_api.sync_playwright() as driver:
    browser = driver.chromium.launch(
      executable_path=chromium, args=list(_ARGUMENTS)
    )
    opened = browser.new_page(viewport={"width": 1200, "height": 860})
    opened.set_default_timeout(_PATIENCE)
    asked = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(url)
    opened.wait_for_selector("#generate-go")
    yield opened
    foreign = [u for u in asked if not u.startswith((url, "data:", "blob:"))]
    browser.close()
    assert not foreign


@pytest.fixture
def picture(tmp_path: pathlib.Path) -> pathlib.Path:
  sample = tasks.make(
    "edit", np.random.default_rng(0), split="test", world=feature_sets.WORLD
  )
  path = tmp_path / "given.png"
  Image.fromarray(sample.cond_images[0]).save(path)
  return path


def _open(page: "sync_api.Page", tab: str) -> None:
  page.get_by_role("tab", name=tab).click()


def _upload(
  page: "sync_api.Page", elem_id: str, path: pathlib.Path
) -> "sync_api.Locator":
  page.set_input_files(f"#{elem_id} input[type=file]", path)
  return page.locator(f"#{elem_id} img")


def _drawn(
  page: "sync_api.Page", tab: str, tmp_path: pathlib.Path
) -> tuple[Image.Image, dict]:
  """Clicks, waits for the end, downloads: the picture and what made it."""
  page.click(f"#{tab}-go")
  status = page.locator(f"#{tab}-status")
  # A preview comes first.
  sync_api.expect(status).to_contain_text(
    re.compile(r"step \d+ of 20"), timeout=_PATIENCE
  )
  sync_api.expect(status).to_contain_text("20 steps in", timeout=_PATIENCE)
  with page.expect_download() as download:
    page.locator(f"#{tab}-result").get_by_label("Download").click()
  path = tmp_path / f"{tab}.png"
  download.value.save_as(path)
  _photograph(page, tab)
  return Image.open(path), outputs.read_png(path)


def _is_told(page: "sync_api.Page", message: str) -> None:
  toasts = page.get_by_test_id("toast-body").filter(has_text=message)
  sync_api.expect(toasts.first).to_be_visible()


def _photograph(page: "sync_api.Page", name: str) -> None:
  if folder := os.environ.get("UNIALIGN_SCREENSHOTS"):
    page.mouse.move(0, 0)
    page.screenshot(path=pathlib.Path(folder) / f"demo_{name}.png")


def test_generate(page: "sync_api.Page", tmp_path: pathlib.Path):
  page.get_by_text("on a gray background").first.click()
  text = page.locator("#generate-text textarea")
  sync_api.expect(text).to_have_value(re.compile("gray background"))
  page.click("#generate-settings")
  page.locator("#generate-random input").uncheck()
  page.fill("#generate-seed input", "7")
  image, made_by = _drawn(page, "generate", tmp_path)
  assert image.size == (64, 64)
  assert made_by["seed"] == 7 and made_by["task"] == "generate"
  assert "gray background" in made_by["text"]
  first = np.asarray(image)
  again, _ = _drawn(page, "generate", tmp_path)
  np.testing.assert_array_equal(np.asarray(again), first)
  page.locator("#generate-random input").check()
  other, made_by = _drawn(page, "generate", tmp_path)
  assert page.input_value("#generate-seed input") == str(made_by["seed"])
  assert (np.asarray(other) != first).any()


def test_edit_and_perceive(
  page: "sync_api.Page", tmp_path: pathlib.Path, picture: pathlib.Path
):
  _open(page, "Edit and perceive")
  _upload(page, "edit-image", picture).wait_for()
  page.click("#edit-kind input")
  page.get_by_role("option", name="depth").click()
  text = page.locator("#edit-text textarea")
  sync_api.expect(text).to_have_value("estimate the depth")
  image, made_by = _drawn(page, "edit", tmp_path)
  assert image.size == (64, 64) and made_by["text"] == "estimate the depth"


def test_personalise(
  page: "sync_api.Page", tmp_path: pathlib.Path, picture: pathlib.Path
):
  _open(page, "Personalise")
  for i in (1, 2):
    _upload(page, f"personalise-image-{i}", picture).wait_for()
  page.fill(
    "#personalise-text textarea", "the first subject and the second subject"
  )
  _, made_by = _drawn(page, "personalise", tmp_path)
  assert made_by["task"] == "personalise"


def test_understand(page: "sync_api.Page"):
  _open(page, "Understand")
  page.get_by_text("how many").first.click()
  asked = page.locator("#understand-text textarea")
  sync_api.expect(asked).to_have_value(re.compile("how many"))
  page.locator("#understand-image img").wait_for()
  text = page.locator("#understand-result textarea")
  page.click("#understand-go")
  sync_api.expect(text).to_have_value("one", timeout=_PATIENCE)
  asked.fill("")
  page.click("#understand-go")
  # The picture has a small yellow cross on gray.
  sync_api.expect(text).to_have_value(
    re.compile("yellow cross"), timeout=_PATIENCE
  )
  _photograph(page, "understand")


def test_a_mistake_is_a_message(
  page: "sync_api.Page", tmp_path: pathlib.Path, picture: pathlib.Path
):
  page.click("#generate-go")
  _is_told(page, "generate: got no text, expected some words.")
  _open(page, "Understand")
  page.click("#understand-go")
  _is_told(page, "picture: got none, expected one; upload it first.")
  # A vector graphic, also under a picture's name, and one of many pixels.
  fake, vector = tmp_path / "fake.png", tmp_path / "vector.svg"
  large = tmp_path / "large.png"
  for path in (fake, vector):
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
  Image.new("RGB", (400, 400)).save(large)
  for path, message in (
    (fake, "cannot identify image file"),
    (vector, "unknown picture format"),
    (large, "too large: 400 x 400 pixels, expected at most 100000"),
  ):
    # A browser shows nothing of what is no picture.
    _upload(page, "understand-image", path).wait_for(state="attached")
    page.click("#understand-go")
    _is_told(page, message)
    page.reload()
    _open(page, "Understand")


def test_a_heavy_file_is_not_taken(
  page: "sync_api.Page",
  server: tuple[str, pathlib.Path],
  tmp_path: pathlib.Path,
):
  path = tmp_path / "heavy.png"
  noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
  Image.fromarray(noise).save(path)
  assert path.stat().st_size > 0.1 * 2**20
  _open(page, "Understand")
  _upload(page, "understand-image", path)
  page.wait_for_timeout(1000)
  page.click("#understand-go")
  _is_told(page, "picture: got none, expected one")
  url, _ = server
  for count, status in ((1, 413), (100, 200)):
    files = {"files": ("a.png", path.read_bytes()[::count])}
    sent = httpx.post(f"{url}gradio_api/upload", files=files)
    assert sent.status_code == status


def test_a_client_names_no_file_of_the_server(
  server: tuple[str, pathlib.Path], picture: pathlib.Path
):
  client = gradio_client.Client(server[0], verbose=False)
  given = gradio_client.handle_file(str(picture))
  settings = ("", 0, 24, "ancestral", 0.3)
  assert client.predict(given, *settings, api_name="/understand")
  for path in (picture, "/etc/hostname"):
    named = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    job = {"data": [named, *settings]}
    made = httpx.post(f"{server[0]}gradio_api/call/understand", json=job)
    event = made.json()["event_id"]
    told = httpx.get(
      f"{server[0]}gradio_api/call/understand/{event}", timeout=60
    )
    assert "event: error" in told.text, told.text
