"""Makes a caption of what a model wrote: plain sentences about the subject.

Models answer with lead-ins ("The image shows ..."), Markdown and line breaks
even when told not to. A lead-in says nothing about a picture, and a model
that trains on it learns to write it before every caption.
"""

import re

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}

# Only words that hold for any picture: "The painting depicts" and "This is a
# black and white photograph of" say something, and stay.
_PICTURE = r"(?:image|picture|photo|photograph|scene)"
_WHICH = r"(?:(?:provided|given|attached|uploaded|above|edited|overall) )?"
_VERB = (
  r"(?:shows|depicts|portrays|captures|features|displays|presents|showcases"
  r"|illustrates|represents|contains|highlights|is of|consists of"
  r"|(?:appears|seems) to (?:show|depict|be|feature))"
)
_OF = r"(?:of|showing|depicting|featuring|that (?:shows|depicts|features))"
_LEAD_INS = [
  re.compile(pattern, re.IGNORECASE)
  for pattern in (
    r"(?:sure|certainly|of course|okay|absolutely)(?: thing)?[,.!:]+ ",
    r"here(?:'s| is| are)\b[^.:]{0,80}: ?",
    r"(?:the |a )?(?:image |picture )?(?:caption|description|answer): ?",
    rf"(?:the|this) {_WHICH}{_PICTURE} (?:\w+ly )?{_VERB}"
    r"(?: us)?(?: that)? ",
    rf"(?:this|it) is (?:an|a|the) {_WHICH}{_PICTURE} {_OF} ",
    rf"(?:an|a|the) {_WHICH}(?:image|picture) {_OF} ",
    rf"in (?:the|this) {_WHICH}{_PICTURE},? (?:(?:we|you|one|i) can see )?",
    r"(?:we|you|one) can see ",
  )
]
_REFUSAL = re.compile(
  r"(?:(?:i'm|i am) (?:very |so |really )?sorry|sorry[,.]|i apologi[sz]e"
  r"|i (?:can't|cannot|can not|could not|couldn't|won't|will not)\b"
  r"|(?:i'm|i am) (?:unable|not able)|unfortunately,? (?:i|it)\b"
  r"|as an ai\b|no image (?:was|is|has been)\b)",
  re.IGNORECASE,
)
_MARKDOWN = [
  (re.compile(r"^\s*```.*$", re.MULTILINE), ""),
  (re.compile(r"^\s*(?:#{1,6}|>|[-*+•]|\d+[.)])\s+", re.MULTILINE), ""),
  (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
  (re.compile(r"(\*{1,3}|_{2,3}|`+)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
  (re.compile(r"(?<!\w)_(?=\S)([^_]+)(?<=\S)_(?!\w)"), r"\1"),
]


def clean(text: str) -> str:
  """The caption in an answer, "" where there is none.

  Takes away thoughts before the answer, Markdown, line breaks, quotes around
  the whole and lead-ins; the first letter is made a capital. Quotes inside,
  as of text on a sign, stay.
  """
  _, end, text = text.rpartition("</think>")
  if not end and text.lstrip().startswith("<think>"):
    return ""
  text = text.encode("utf-8", "ignore").decode()  # a half of a surrogate pair
  for pattern, replacement in _MARKDOWN:
    text = pattern.sub(replacement, text)
  text = " ".join(text.split())
  before = None
  while text != before:
    before = text
    text = _without_lead_in(_without_quotes(text))
  return text[:1].upper() + text[1:]


def is_refusal(text: str) -> bool:
  """Whether a cleaned text says that the model will not or cannot describe."""
  return bool(_REFUSAL.match(text.replace("’", "'")))


def _without_quotes(text: str) -> str:
  closing = _QUOTES.get(text[:1])
  whole = closing and len(text) > 1 and text.endswith(closing)
  if whole and closing not in text[1:-1]:
    return text[1:-1].strip()
  return text


def _without_lead_in(text: str) -> str:
  straight = text.replace("’", "'")
  for pattern in _LEAD_INS:
    if found := pattern.match(straight):
      return text[found.end() :].lstrip()
  return text
