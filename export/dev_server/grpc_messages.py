"""What stands between gRPC's library and the services: messages, turns, and mistakes of ours."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from export.errors import ServingError

_MESSAGE_LIMIT = 1024

_log = logging.getLogger(__name__)


class Messages(grpc.ServerInterceptor):
    """Reads the messages of all calls in the place of the library, and ends those that fail.

    Where a message does not parse, the library would log a traceback, keep some memory for ever,
    and hold a thread until the client goes. Methods that stream are answered UNIMPLEMENTED.

    Args:
        turns: how many calls are worked on at once. A call whose message has not come takes none.
    """

    def __init__(self, turns: int) -> None:
        self._turns = threading.Semaphore(turns)
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The handler of a method, which parses for itself; made once."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler = continuation(handler_call_details)
            if handler is None or handler.unary_unary is None:
                return None  # UNIMPLEMENTED
            self._handlers[method] = self._parsing(handler)
        return self._handlers[method]

    def _parsing(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        behaviour, parse = handler.unary_unary, handler.request_deserializer

        def answer(data: bytes, context: grpc.ServicerContext) -> Any:
            with _aborting(context), self._turns:
                if not context.is_active():
                    raise ServingError("CANCELLED", "The client left while it waited for a turn.")
                return behaviour(_parsed(parse, data), context)

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=handler.response_serializer
        )


def _parsed(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except DecodeError as error:
        raise ServingError("INVALID_ARGUMENT", f"Not a message: {error}") from error


@contextlib.contextmanager
def _aborting(context: grpc.ServicerContext) -> Iterator[None]:
    """Ends the call with the status of a `ServingError` that leaves it, or of a mistake of ours."""
    try:
        yield
    except ServingError as error:
        message = error.message
        if len(message) > _MESSAGE_LIMIT:
            message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
        context.abort(grpc.StatusCode[error.code], message)
    except NotImplementedError as error:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
    except Exception:  # the client is told so, and the log where
        _log.exception("A call failed")
        context.abort(grpc.StatusCode.INTERNAL, "The server failed; its log says where.")
