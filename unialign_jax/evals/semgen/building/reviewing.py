"""The review of a set: as a page, or as a file that goes out and comes back."""

import pathlib

from unialign_jax.evals.semgen import dataset
from unialign_jax.evals.semgen.building import page as page_lib
from unialign_jax.evals.semgen.building import reviews as reviews_lib
from unialign_jax.evals.semgen.building import selection
from unialign_jax.evals.semgen.building import texts as texts_lib


class Review:
  """What is to decide on in a set; a context manager.

  Args:
    out: folder of a set whose prompts have been written.

  Raises:
    ValueError: they have not, or another review has the folder.
  """

  def __init__(self, out: pathlib.Path):
    self._images = {
      one.image_id: out / dataset.IMAGES / selection.image_name(one)
      for one in selection.read_selection(out).chosen
    }
    self._drafts = {
      (one.image_id, one.field): one for one in texts_lib.read(out)
    }
    self._reviews = reviews_lib.Reviews(out / texts_lib.REVIEWS)

  def __enter__(self) -> "Review":
    return self

  def __exit__(self, *exc_info: object) -> None:
    self._reviews.close()

  def current(self, image_id: int, field: str) -> texts_lib.Text:
    """A prompt as it stands."""
    return texts_lib.settled(self._drafts[image_id, field], self._reviews)

  def write_sheet(self, path: pathlib.Path) -> int:
    """Writes the prompts that nobody has decided on; returns how many."""
    rows = [
      {
        "image_id": image_id,
        "field": field,
        "image": str(self._images[image_id]),
        "text": self.current(image_id, field).text,
      }
      for image_id, field in self._drafts
      if self.current(image_id, field).status not in page_lib.DECIDED
    ]
    return reviews_lib.write_sheet(path, rows)

  def read_sheet(self, path: pathlib.Path, reviewer: str) -> int:
    """Takes over the decisions in a sheet; returns how many.

    Raises:
      ValueError: a line that is none, in which case nothing is taken over.
    """
    texts = {key: self.current(*key).text for key in self._drafts}
    found = reviews_lib.read_sheet(path, reviewer, texts)
    for decision in found:
      self._reviews.add(decision)
    return len(found)

  def page(self, reviewer: str, port: int = 0) -> page_lib.Page:
    """A page to decide on; see there."""
    return page_lib.Page(
      self._images, self.current, self._reviews, reviewer, port
    )
