"""TensorFlow Serving's REST interface as a function of method, path and body, without sockets."""

from __future__ import annotations

import logging
import re
from typing import Any, NamedTuple
from urllib.parse import unquote

from tensorflow_serving.apis import classification_pb2, regression_pb2

from export.dev_server import inference, json_examples, json_outputs, json_tensors, metrics
from export.dev_server.descriptions import metadata_document, status_response, to_document
from export.dev_server.models import Models
from export.errors import HTTP_STATUS, ServingError
from export.layout import DEFAULT_SIGNATURE
from export.server_config import METRICS

_CHOICE = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS = re.IGNORECASE | re.ASCII
_INFER = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_CHOICE}:(?P<verb>classify|regress|predict)", _FLAGS
)
_ABOUT = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_CHOICE}(?P<metadata>/metadata)?", _FLAGS)
_OURS = re.compile(r"/v1/.*", _FLAGS | re.DOTALL)

_log = logging.getLogger(__name__)
_INT64_MAX = 2**63 - 1
_JSON = "application/json"


class Answer(NamedTuple):
    """A status code, a body and the body's type."""

    code: int
    body: bytes
    content_type: str = _JSON


class _Target(NamedTuple):
    name: str
    version: int | None
    label: str | None


class RestService:
    """Answers for the models in `models`.

    Args:
        models: the models.
        metrics: where requests are counted, and whose text is told.
        timeout: seconds that a request may run; None for ever.
    """

    def __init__(
        self, models: Models, metrics: metrics.Metrics, timeout: float | None = None
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._timeout = timeout

    def answer(self, method: str, target: str, body: bytes = b"") -> Answer:
        """The answer to one request; `target` is the path, with or without a query."""
        path = re.split(r"[?#]", target, maxsplit=1)[0]
        if path == METRICS and method == "GET":
            return Answer(200, self._metrics.text().encode(), "text/plain")
        if not _OURS.fullmatch(path):
            page = b"<html><head><title>404 Not Found</title></head><body>Not Found</body></html>"
            return Answer(404, page, "text/html")
        try:
            return Answer(200, self._route(method, path, body))
        except ServingError as error:
            return error_answer(HTTP_STATUS[error.code], error.message)
        except Exception:  # a mistake of ours: the client is told so, and the log where
            _log.exception("%s %s", method, path)
            return error_answer(500, "The server failed; its log says where.")

    def _route(self, method: str, path: str, body: bytes) -> bytes:
        if method == "POST" and (found := _INFER.fullmatch(path)):
            target = _target(found)
            infer = {
                "predict": self._predict,
                "classify": self._classify,
                "regress": self._regress,
            }.get(found["verb"])
            if infer:
                model = target.name if target.name in self._models else ""
                with self._metrics.request(model, found["verb"], "REST"):
                    return infer(target, json_tensors.parse(body))
        if method == "GET" and (found := _ABOUT.fullmatch(path)):
            return self._about(found)
        raise ServingError("INVALID_ARGUMENT", f"Malformed request: {method} {path}")

    def _predict(self, target: _Target, document: dict[str, Any]) -> bytes:
        signature = json_tensors.signature_name(document)
        servable = self._models.find(**target._asdict()).servable
        try:
            definition = servable.signature(signature)
        except ServingError as error:  # REST has its own code and words for this
            raise ServingError(
                "INVALID_ARGUMENT",
                f'Serving signature name: "{signature or DEFAULT_SIGNATURE}" not found in '
                "signature def",
            ) from error
        tensors = json_tensors.tensors(document, definition.inputs)
        outputs = servable.predict(tensors.inputs, signature=signature, timeout=self._timeout)
        return json_outputs.write_predictions(outputs, row=tensors.row)

    def _classify(self, target: _Target, document: dict[str, Any]) -> bytes:
        request = classification_pb2.ClassificationRequest()
        json_examples.fill(request, document)  # all of the body is read before the model is found
        servable = self._models.find(**target._asdict()).servable
        return json_examples.write_classifications(
            inference.classify(servable, request, self._timeout)
        )

    def _regress(self, target: _Target, document: dict[str, Any]) -> bytes:
        request = regression_pb2.RegressionRequest()
        json_examples.fill(request, document)
        servable = self._models.find(**target._asdict()).servable
        return json_examples.write_regressions(inference.regress(servable, request, self._timeout))

    def _about(self, match: re.Match[str]) -> bytes:
        if match["name"] is None:
            raise ServingError("INVALID_ARGUMENT", "Missing model name in request.")
        target = _target(match)
        if match["metadata"] == "/metadata":  # in capitals it means nothing, and is no mistake
            return json_outputs.dumps(metadata_document(self._models.find(**target._asdict())))
        status = status_response(self._models, target.name, target.version)
        return json_outputs.dumps(to_document(status))


def error_answer(code: int, message: str) -> Answer:
    """An error as the server writes it."""
    return Answer(code, json_outputs.dumps({"error": message}))


def _target(match: re.Match[str]) -> _Target:
    label = None if match["label"] is None else unquote(match["label"])
    return _Target(unquote(match["name"]), _version(match["version"]), label)


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(_INT64_MAX)) or int(digits) > _INT64_MAX:
        raise ServingError("INVALID_ARGUMENT", f"Failed to convert version: {text} to numeric.")
    return int(digits)
