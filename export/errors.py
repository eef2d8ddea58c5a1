"""What goes wrong on the way to and from a served model: canonical status codes and messages."""

from __future__ import annotations

# Canonical status names, by number.
CODES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS "
    "PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED "
    "INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()

# Canonical status name -> HTTP status code, as TensorFlow Serving translates them.
HTTP_STATUS = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

# The way back. Of the names that share a number, the one a client meets most.
STATUS_OF_HTTP = {number: name for name, number in reversed(HTTP_STATUS.items())}
STATUS_OF_HTTP[413] = "RESOURCE_EXHAUSTED"
STATUS_OF_HTTP[500] = "INTERNAL"


class ExportError(Exception):
    """A mistake the user can mend, told in one line."""


class ServingError(ExportError):
    """A request that was refused or failed: a canonical status name and the server's message.

    Args:
        code: the name of the status, such as `"NOT_FOUND"`; the same over gRPC and REST,
            except that HTTP 400 always reads `"INVALID_ARGUMENT"`.
        message: the server's own words.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[ServingError], tuple[str, str]]:
        return type(self), (self.code, self.message)
