"""A report as one HTML file that needs nothing else.

It is built as a tree, so that every text is escaped where it is written out.
The policy in its head keeps a browser from fetching or running anything.
"""

import base64
import re
from collections.abc import Sequence
from xml.etree import ElementTree as et

from unialign_jax.evals.report import document

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; color: #222;
  max-width: 75em; padding: 0 1em; }
h2 { border-top: 2px solid #ccc; margin-top: 2.5em; padding-top: 0.8em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25em 0.7em;
  text-align: right; white-space: nowrap; }
th { background: #f4f4f4; }
th:first-child, td:first-child { text-align: left; }
tr.marked td { background: #eef5ff; font-weight: 600; }
.sheet { display: grid; gap: 1em;
  grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); }
figure { margin: 0; }
figcaption { font-size: 12px; overflow-wrap: anywhere; }
"""
# What XML has no place for; browsers show nothing for it.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def render(blocks: Sequence[document.Block], title: str) -> str:
  """The page."""
  root = et.Element("html", lang="en")
  head = et.SubElement(root, "head")
  et.SubElement(head, "meta", charset="utf-8")
  policy = {"http-equiv": "Content-Security-Policy", "content": _POLICY}
  et.SubElement(head, "meta", policy)
  _text(head, "title", title)
  et.SubElement(head, "style").text = _STYLE
  body = et.SubElement(root, "body")
  for block in blocks:
    _WRITERS[type(block)](body, block)
  return f"<!doctype html>\n{et.tostring(root, 'unicode', method='html')}\n"


def _text(parent: et.Element, tag: str, text: str) -> et.Element:
  element = et.SubElement(parent, tag)
  element.text = _CONTROL.sub("", text)
  return element


def _heading(body: et.Element, block: document.Heading) -> None:
  _text(body, f"h{block.level}", block.text)


def _paragraph(body: et.Element, block: document.Paragraph) -> None:
  _text(body, "p", block.text)


def _bullets(body: et.Element, block: document.Bullets) -> None:
  items = et.SubElement(body, "ul")
  for text in block.texts:
    _text(items, "li", text)


def _table(body: et.Element, block: document.Table) -> None:
  table = et.SubElement(et.SubElement(body, "div", {"class": "wide"}), "table")
  head = et.SubElement(table, "tr")
  for cell in block.head:
    _text(head, "th", cell)
  for number, row in enumerate(block.rows):
    is_marked = {"class": "marked"} if number in block.marked else {}
    line = et.SubElement(table, "tr", is_marked)
    for cell in row:
      _text(line, "td", cell)


def _sheet(body: et.Element, block: document.Sheet) -> None:
  sheet = et.SubElement(body, "div", {"class": "sheet"})
  for picture in block.pictures:
    figure = et.SubElement(sheet, "figure")
    data = base64.b64encode(picture.jpeg).decode()
    et.SubElement(figure, "img", src=f"data:image/jpeg;base64,{data}", alt="")
    _text(figure, "figcaption", picture.text)


_WRITERS = {
  document.Heading: _heading,
  document.Paragraph: _paragraph,
  document.Bullets: _bullets,
  document.Table: _table,
  document.Sheet: _sheet,
}
