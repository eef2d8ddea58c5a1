"""One version of a model in a TensorFlow session, which answers as TensorFlow Serving does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from export.dev_server import inference
from export.dev_server.batching import BatchScheduler
from export.dev_server.session import Runner, Session
from export.dev_server.tensor_protos import check_rank, dtype_of, to_array, type_name
from export.errors import ServingError
from export.layout import DEFAULT_SIGNATURE
from export.warmup import read_warmup


class Servable:
    """A SavedModel's graph in a session of its own: no Python layer takes part.

    Args:
        folder: the folder of a version, the one that holds `saved_model.pb`.
        warm_up: replay the warm-up records; one that fails makes loading fail.
        scheduler: what runs requests together; without it, each is run by itself.
        config: threads and devices of the session; TensorFlow's defaults if None.

    Example:

    >>> import tempfile
    >>> from export import Signature, write
    >>> half = Signature(lambda x: {"y": x / 2 + 2}, {"x": tf.TensorSpec((None,))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     version = write(f"{folder}/half", {"serving_default": half})
    ...     with Servable(version) as servable:
    ...         servable.predict({"x": np.array([1.0, 2.0], "float32")})
    {'y': array([2.5, 3. ], dtype=float32)}
    """

    def __init__(
        self,
        folder: Path,
        *,
        warm_up: bool = True,
        scheduler: BatchScheduler | None = None,
        config: config_pb2.ConfigProto | None = None,
    ) -> None:
        self.folder = folder
        self._session = Session(folder, config)
        self._runner: Runner = (
            self._session if scheduler is None else scheduler.batching(self._session)
        )
        try:
            if warm_up:
                self._replay()
        except BaseException:
            self.close()
            raise

    @property
    def signatures(self) -> dict[str, meta_graph_pb2.SignatureDef]:
        """Signatures by name."""
        return self._session.signatures

    def __enter__(self) -> Servable:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the session and what it holds."""
        self._session.close()

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature called `name`; the empty name means `serving_default`."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        signature: str = "",
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Args:
            inputs: name -> array, exactly the inputs of the signature and of their types; shapes
                are for the graph to judge. Strings are object arrays of bytes.
            signature: its name; empty for `serving_default`.
            output_filter: the outputs wanted; empty for all.
            timeout: seconds after which the run is given up; None for never.

        Returns:
            Output name -> array.

        Raises:
            ServingError: in the codes and words of TensorFlow Serving.
        """
        definition = self.signature(signature)
        _check_inputs(definition, inputs)
        wanted = _wanted_outputs(definition, output_filter)
        feeds = [(definition.inputs[name], inputs[name]) for name in sorted(definition.inputs)]
        for index, (info, array) in enumerate(feeds):
            _check_dtype(index, info, array)
            check_rank(array.ndim)
        values = self._runner.run(
            [info.name for info, _ in feeds],
            [definition.outputs[name].name for name in wanted],
            [array for _, array in feeds],
            timeout,
        )
        return dict(zip(wanted, values, strict=True))

    def _replay(self) -> None:
        for number, log in enumerate(read_warmup(self.folder)):
            kind = log.WhichOneof("log_type")
            if kind is None:
                continue
            if kind not in _REPLAYED:
                raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")
            try:
                _REPLAYED[kind](self, getattr(log, kind).request)
            except ServingError as error:
                raise ServingError(
                    error.code, f"{self.folder}: warm-up record {number}: {error.message}"
                ) from error


def _predict(servable: Servable, request: predict_pb2.PredictRequest) -> None:
    servable.predict(
        {name: to_array(name, proto) for name, proto in request.inputs.items()},
        signature=request.model_spec.signature_name,
        output_filter=request.output_filter,
    )


# Kind of a warm-up record -> what replays its request.
_REPLAYED: dict[str, Callable[[Servable, Any], object]] = {
    "predict_log": _predict,
    "classify_log": inference.classify,
    "regress_log": inference.regress,
    "multi_inference_log": inference.multi_inference,
}


def _check_inputs(definition: meta_graph_pb2.SignatureDef, inputs: Mapping[str, Any]) -> None:
    expected, given = set(definition.inputs), set(inputs)
    if len(given) != len(expected):
        raise ServingError(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({braces(given)}) != len({braces(expected)}). "
            f"Sent extra: {braces(given - expected)}. "
            f"Missing but required: {braces(expected - given)}.",
        )
    for name in sorted(expected - given):
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Signature input alias: {name}(feed name: {definition.inputs[name].name}) not found "
            "in request and no default value provided. Inputs expected to be in the request "
            f"{braces(expected)}, or default input alias set: ",
        )


def _wanted_outputs(
    definition: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]
) -> list[str]:
    for index, name in enumerate(output_filter):
        if name not in definition.outputs:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {braces(definition.outputs)}.",
            )
        if name in output_filter[:index]:
            raise ServingError("INVALID_ARGUMENT", f"duplicate output tensor alias: {name}")
    # Sorted, as the session remembers every order in which it was asked, for ever.
    return sorted(output_filter or definition.outputs)


def _check_dtype(index: int, info: meta_graph_pb2.TensorInfo, array: np.ndarray) -> None:
    expected = tf.dtypes.as_dtype(info.dtype)
    given = dtype_of(array)
    if given != expected:
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Expects arg[{index}] to be {type_name(expected)} but {type_name(given)} is provided",
        )


def braces(names: Iterable[str]) -> str:
    """Names the way the server's messages list a set: `{a,b}`."""
    return "{" + ",".join(sorted(names)) + "}"
