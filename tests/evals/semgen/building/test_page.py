"""The page as a browser without scripts would use it."""

import concurrent.futures
import contextlib
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.evals.semgen.building import writer
from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import page as page_lib
from unialign_jax.evals.semgen.building import reviews as reviews_lib
from unialign_jax.evals.semgen.building import texts as texts_lib

TEXT = 'Two <b>dogs</b> & a "cat".'


@pytest.fixture
def reviews(tmp_path):
  with reviews_lib.Reviews(tmp_path / "reviews.jsonl") as opened:
    yield opened


@pytest.fixture
def page(tmp_path, reviews):
  images = {1: tmp_path / "1.jpg", 2: tmp_path / "2.jpg"}
  for path in images.values():
    writer.photograph(path, (90, 120, 60))

  def current(image_id, field):
    draft = texts_lib.Draft(
      image_id=image_id, field=field, text=TEXT, problem="", revision=0
    )
    return texts_lib.settled(draft, reviews)

  opened = page_lib.Page(images, current, reviews, "Ada")
  thread = threading.Thread(target=opened.serve)
  thread.start()
  yield opened
  opened.close()
  thread.join()


@contextlib.contextmanager
def silent(page):
  """A connection that says nothing."""
  port = urllib.parse.urlsplit(page.url).port
  with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
    yield line


def get(page, path="", **headers):
  request = urllib.request.Request(page.url + path, headers=headers)
  with urllib.request.urlopen(request, timeout=10) as reply:
    return reply.url, reply.read()


def form(page, field="t2i_long"):
  """The hidden fields of a prompt's form, as the page has them."""
  import html

  _, body = get(page, "item/1")
  (found,) = [
    part for part in body.decode().split("<form") if f'value="{field}"' in part
  ]
  pairs = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', found)
  return {name: html.unescape(value) for name, value in pairs}


def post(page, fields, **headers):
  data = urllib.parse.urlencode(fields).encode()
  request = urllib.request.Request(page.url + "decide", data, headers)
  with urllib.request.urlopen(request, timeout=10) as reply:
    return reply.url, reply.read()


def test_the_first_open_item(page):
  url, body = get(page)
  assert url.endswith("/item/1")
  text = body.decode()
  assert text.count("<textarea") == 4
  assert "Two &lt;b&gt;dogs&lt;/b&gt; &amp; a &quot;cat&quot;." in text
  assert "<b>" not in text
  assert "Edit_Multi: not reviewed" in text
  _, picture = get(page, "image/1")
  assert picture.startswith(b"\xff\xd8")


def test_decisions_are_written_down(page, reviews):
  for group in dataset.GROUPS:
    url, _ = post(
      page, form(page, group.field) | {"decision": "accept", "new": TEXT}
    )
    assert url.endswith("/item/1")
  assert reviews.state(1, "edit_multi").last.text == TEXT
  assert reviews.state(1, "edit_multi").last.reviewer == "Ada"
  assert get(page)[0].endswith("/item/2")
  edited = {"decision": "edit", "new": "Three\n dogs."}
  post(page, form(page) | edited)
  assert reviews.state(1, "t2i_long").last.new == "Three dogs."
  post(page, form(page) | {"decision": "reject", "comment": "no dogs"})
  (rejected,) = reviews.state(1, "t2i_long").rejected
  assert rejected.comment == "no dogs"


def test_all_is_decided(page, reviews):
  for image_id in (1, 2):
    for group in dataset.GROUPS:
      reviews.add(
        reviews_lib.Decision(
          image_id=image_id,
          field=group.field,
          text=TEXT,
          decision="accept",
          reviewer="Bob",
        )
      )
  url, body = get(page)
  assert url.endswith("/done")
  assert b"Every prompt is decided." in body


@pytest.mark.parametrize(
  ("changes", "status"),
  [
    ({"token": "guessed"}, 403),
    ({"token": ""}, 403),
    ({"seen": "An older text."}, 400),
    ({"image_id": "7"}, 400),
    ({"image_id": "x"}, 400),
    ({"decision": "perhaps"}, 400),
    ({"decision": "edit", "new": " "}, 400),
    ({"comment": "x" * 300_000}, 400),
  ],
)
def test_forms_that_are_refused(page, reviews, changes, status):
  fields = form(page) | {"decision": "accept"} | changes
  with pytest.raises(urllib.error.HTTPError) as caught:
    post(page, fields)
  assert caught.value.code == status
  assert reviews.state(1, "t2i_long").last is None


@pytest.mark.parametrize(
  ("path", "headers", "status"),
  [
    ("", {"Host": "evil.example:80"}, 403),
    ("item/1", {"Host": "127.0.0.1.evil.example"}, 403),
    ("item/3", {}, 404),
    ("image/../reviews.jsonl", {}, 404),
    ("image/x", {}, 404),
    ("other", {}, 404),
  ],
)
def test_what_is_not_served(page, path, headers, status):
  with pytest.raises(urllib.error.HTTPError) as caught:
    get(page, path, **headers)
  assert caught.value.code == status


def test_a_form_that_was_sent_to_another_name_decides_nothing(page, reviews):
  fields = form(page) | {"decision": "accept"}
  with pytest.raises(urllib.error.HTTPError) as caught:
    post(page, fields, Host="evil.example:80")
  assert caught.value.code == 403
  assert reviews.state(1, "t2i_long").last is None


def test_who_connects_and_says_nothing_holds_up_nobody(page):
  with silent(page) as first, silent(page):
    first.sendall(b"GET / HTTP/1.1\r\nHost: 127")
    url, _ = get(page)
    assert url.endswith("/item/1")


def test_who_says_nothing_is_sent_away(page, monkeypatch):
  assert page_lib._Handler.timeout < 60
  monkeypatch.setattr(page_lib._Handler, "timeout", 0.1)
  with silent(page) as line:
    assert line.recv(1) == b""


def test_one_prompt_is_decided_on_once(page, reviews, monkeypatch):
  """By forms that come at the same time."""
  add = reviews.add

  def slowly(decision):
    time.sleep(0.05)
    add(decision)

  monkeypatch.setattr(reviews, "add", slowly)
  fields = form(page) | {"decision": "edit"}

  def decide(word):
    try:
      post(page, fields | {"new": word})
    except urllib.error.HTTPError as error:
      return error.code
    return 200

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    codes = sorted(pool.map(decide, ["A.", "B.", "C.", "D."]))
  assert codes == [200, 400, 400, 400]
