"""Says, from within a row's reading, that the row gives no sample."""


class Rejection(ValueError):
  """Becomes a `base.Rejected`.

  Attributes:
    reason: Short and without particulars, see `base.Rejected`.
    detail: The particulars.
  """

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(reason, detail)
    self.reason = reason
    self.detail = detail
