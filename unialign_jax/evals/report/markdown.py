"""A report as Markdown, with its sheets of pictures as files beside it."""

import re
from collections.abc import Sequence

from unialign_jax.evals.report import document
from unialign_jax.evals.report import pictures

FOLDER = "report_pictures"
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_LIST = re.compile(r"^(\d*)([-=.])(?=\s|$)")


def render(blocks: Sequence[document.Block]) -> tuple[str, dict[str, bytes]]:
  """The text, and the files that it shows by their names in `FOLDER`."""
  parts, files = [], {}
  for block in blocks:
    if isinstance(block, document.Sheet):
      name = f"{block.name}.jpg"
      files[name] = pictures.contact_sheet(block)
      parts.append(f"![pictures]({FOLDER}/{name})")
      parts.append(_numbered([one.text for one in block.pictures]))
    else:
      parts.append(_WRITERS[type(block)](block))
  return "\n\n".join(parts) + "\n", files


def escape(text: str) -> str:
  """A text that Markdown shows as it is, inside of a line."""
  text = " ".join(text.split())
  text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
  text = _SPECIAL.sub(r"\\\1", text)
  # An address would become a link.
  return text.replace("://", ":\u200b//").replace("www.", "www\u200b.")


def line(text: str) -> str:
  """`escape` for what begins a line, where it must not begin a list."""
  return _LIST.sub(r"\1\\\2", escape(text))


def _heading(block: document.Heading) -> str:
  return f"{'#' * block.level} {escape(block.text)}"


def _paragraph(block: document.Paragraph) -> str:
  return line(block.text)


def _bullets(block: document.Bullets) -> str:
  return "\n".join(f"- {line(text)}" for text in block.texts)


def _numbered(texts: Sequence[str]) -> str:
  return "\n".join(f"{n}. {line(t)}" for n, t in enumerate(texts, start=1))


def _table(block: document.Table) -> str:
  lines = [_row(map(escape, block.head)), "|---" * len(block.head) + "|"]
  for number, row in enumerate(block.rows):
    cells = [escape(cell) for cell in row]
    if number in block.marked:
      cells = [f"**{cell}**" if cell else "" for cell in cells]
    lines.append(_row(cells))
  return "\n".join(lines)


def _row(cells) -> str:
  return f"| {' | '.join(cells)} |"


_WRITERS = {
  document.Heading: _heading,
  document.Paragraph: _paragraph,
  document.Bullets: _bullets,
  document.Table: _table,
}
