"""ImgEdit-Bench's numbers, computed by hand."""

import pytest

from tests.evals.imgedit import files
from unialign_jax.evals.imgedit import dataset
from unialign_jax.evals.imgedit import scores

_ITEMS = [
  dataset.Item(key=key, kind=kind, prompt="x", picture=None)
  for key, kind, _ in files.ITEMS
]
_TEXTS = {
  "1082": files.reply(4, 3, 4),  # 11/3, as released 3.67
  "7": files.reply(2, 2, 1),  # 5/3, 1.67
  "673": files.reply(5, 4, 4),  # 13/3, 4.33
  "90": files.reply(1, 1, 1),
}


def _values(table) -> dict[str, float | None]:
  return {score.group: score.value for score in table}


def test_overall_is_over_types_and_micro_over_images():
  table = scores.repaired(_ITEMS, _TEXTS, "m", cap=False)
  assert _values(table) == pytest.approx(
    {
      "adjust": 8 / 3,
      "extract": 1.0,
      "style": 13 / 3,
      "Overall": 8 / 3,
      "Overall (micro)": (11 + 5 + 13 + 3) / 12,
    }
  )
  assert all(score.scored == score.expected for score in table)


def test_as_released_it_is_rounded_twice():
  table = scores.as_released(_ITEMS, _TEXTS, "m")
  assert _values(table) == pytest.approx(
    {
      "adjust": 2.67,
      "extract": 1.0,
      "style": 4.33,
      "Overall": (2.67 + 1.0 + 4.33) / 3,
      "Overall (micro)": (3.67 + 1.67 + 4.33 + 1.0) / 4,
    },
    abs=1e-12,
  )
  assert all(score.low is None for score in table)


def test_the_first_rounding_is_of_images_the_second_of_types():
  items = [
    dataset.Item(key=str(n), kind="add", prompt="x", picture=None)
    for n in range(3)
  ]
  low, two, one = (files.reply(*s) for s in ((2, 2, 1), (2, 2, 2), (1, 1, 1)))
  # 1.67, 1.67 and 2 are 1.78, where 5/3, 5/3 and 2 would be 1.777...
  texts = {"0": low, "1": low, "2": two}
  table = _values(scores.as_released(items, texts, "m"))
  assert table["add"] == table["Overall"] == 1.78
  # 1.67, 2 and 1 are 1.55666..., and no type is printed so.
  texts = {"0": low, "1": two, "2": one}
  table = _values(scores.as_released(items, texts, "m"))
  assert table["add"] == table["Overall"] == 1.56
  assert table["Overall (micro)"] == pytest.approx(4.67 / 3)


def test_a_missing_picture_counts_0_and_an_unread_reply_not_at_all():
  texts = dict(_TEXTS)
  del texts["7"]
  texts["673"] = "no idea"
  table = scores.repaired(_ITEMS, texts, "m", cap=False)
  values = _values(table)
  assert values["adjust"] == pytest.approx(11 / 6)
  assert values["style"] is None and values["Overall"] is None
  assert values["Overall (micro)"] == pytest.approx((11 / 3 + 0 + 1) / 3)
  assert (table[-1].scored, table[-1].expected) == (3, 4)
  released = _values(scores.as_released(_ITEMS, texts, "m"))
  assert released["adjust"] == 3.67
  assert released["style"] is None and released["Overall"] is None
  assert scores.unread(texts) == {"673": "no scores"}


def test_later_scores_above_the_first_are_counted_and_may_be_capped():
  texts = dict(_TEXTS) | {"7": files.reply(2, 5, 1)}
  assert scores.above_first(_TEXTS) == 0
  assert scores.above_first(texts) == 1
  free = _values(scores.repaired(_ITEMS, texts, "m", cap=False))
  capped = _values(scores.repaired(_ITEMS, texts, "m", cap=True))
  assert free["adjust"] == pytest.approx((11 / 3 + 8 / 3) / 2)
  assert capped["adjust"] == pytest.approx((11 / 3 + 5 / 3) / 2)


def test_the_papers_row_is_a_mean_over_types():
  # UniAlignment's nine types in arXiv 2509.23760, Table 3, average 3.25.
  counts = dataset.COUNTS
  assert sum(counts.values()) / len(counts) != 100
  items = [
    dataset.Item(key=f"{kind}{n}", kind=kind, prompt="x", picture=None)
    for kind, n_items in (("add", 3), ("style", 1))
    for n in range(n_items)
  ]
  texts = {item.key: files.reply(*[4 if item.kind == "add" else 2] * 3)
           for item in items}  # fmt: skip
  values = _values(scores.repaired(items, texts, "m", cap=False))
  assert (values["Overall"], values["Overall (micro)"]) == (3.0, 3.5)
