"""Wordings of perception tasks."""

import pytest

from unialign_jax.data.sources import map_makers
from unialign_jax.data.sources import paraphrases


def test_every_kind_of_map_has_wordings_both_ways():
  tasks = {
    task for kind in map_makers.STYLES for task in (kind, f"{kind}_to_photo")
  }
  assert set(paraphrases.kinds()) == tasks
  for task in tasks:
    many = task.removesuffix("_to_photo") in ("canny", "depth", "pose")
    assert len(paraphrases.instructions(task)) >= (12 if many else 6), task


@pytest.mark.parametrize("task", paraphrases.kinds())
def test_wordings_are_sentences_and_differ(task):
  wordings = paraphrases.instructions(task)
  assert len({wording.casefold() for wording in wordings}) == len(wordings)
  for wording in wordings:
    assert wording == wording.strip() and wording[-1] in ".?"


def test_no_wording_stands_for_two_tasks():
  everything = [
    w for task in paraphrases.kinds() for w in paraphrases.instructions(task)
  ]
  assert len(set(everything)) == len(everything)


def test_pick_is_the_same_in_every_process():
  # The first 8 bytes of BLAKE2b("canny\0a") and ("canny\0b"), modulo 15.
  wordings = paraphrases.instructions("canny")
  assert paraphrases.pick("canny", "a") == wordings[10]
  assert paraphrases.pick("canny", "b") == wordings[3]


def test_pick_uses_all_wordings_alike():
  wordings = paraphrases.instructions("depth")
  picked = [paraphrases.pick("depth", f"key {i}") for i in range(3000)]
  counts = [picked.count(wording) for wording in wordings]
  assert min(counts) > 140 and max(counts) < 260  # 200 each; 4 sigma is 56


def test_unknown_kind_names_those_there_are():
  with pytest.raises(ValueError, match=r"'etching'.*'canny', 'canny_to_photo'"):
    paraphrases.instructions("etching")
