"""Mistakes and refusals in the shape that OpenAI's clients read.

{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
"""

from starlette.responses import JSONResponse

# By status, where an error does not say its own.
_TYPES = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  429: "rate_limit_error",
}


class ApiError(Exception):
  """A request that gets no result.

  Args:
    status: of HTTP.
    message: what, got, expected, what to change.
    param: the field it is about.
    code: short, for programs.
    retry_after: seconds after which to try again.
  """

  def __init__(
    self,
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    retry_after: int | None = None,
  ):
    super().__init__(message)
    self.status = status
    self.message = message
    self.param = param
    self.code = code
    self.retry_after = retry_after

  def response(self) -> JSONResponse:
    """What the client gets."""
    default = "server_error" if self.status >= 500 else "invalid_request_error"
    headers = {}
    if self.retry_after is not None:
      headers["Retry-After"] = str(self.retry_after)
    if self.status == 401:
      headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
      {
        "error": {
          "message": self.message,
          "type": _TYPES.get(self.status, default),
          "param": self.param,
          "code": self.code,
        }
      },
      self.status,
      headers,
    )


def bad(
  message: str, *, param: str | None = None, code: str = "invalid_value"
) -> ApiError:
  """A mistake in the request."""
  return ApiError(400, message, param=param, code=code)
