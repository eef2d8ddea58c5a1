"""Warm-up records: requests that TensorFlow Serving replays before it calls a version ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.errors import ExportError
from export.layout import MAX_WARMUP_RECORDS, WARMUP_FILE
from export.signatures import Signature


def write_warmup(
    version: Path, signatures: Mapping[str, Signature], batch_sizes: Sequence[int] = ()
) -> int:
    """Writes warm-up records below the folder `version`; returns their number.

    They are the examples of all signatures and, of each that is a single row, batches of
    `batch_sizes` such rows.
    """
    logs = [
        prediction_log_pb2.PredictionLog(
            predict_log=prediction_log_pb2.PredictLog(request=_request(name, signature, arrays))
        )
        for name, signature in signatures.items()
        for arrays in _batches(signature, batch_sizes)
    ]
    if len(logs) > MAX_WARMUP_RECORDS:
        raise ValueError(
            f"A server replays at most {MAX_WARMUP_RECORDS} warm-up records. Received: {len(logs)}."
        )
    if logs:  # no file is fine, and says more plainly than an empty one that there is nothing
        path = version / WARMUP_FILE
        path.parent.mkdir(exist_ok=True)
        # A writer that is not closed leaves a truncated record, and a version that never loads.
        with tf.io.TFRecordWriter(str(path)) as writer:
            for log in logs:
                writer.write(log.SerializeToString(deterministic=True))
    return len(logs)


def read_warmup(version: Path) -> Iterator[prediction_log_pb2.PredictionLog]:
    """The warm-up records below the folder `version`, in order; none if it has no such file.

    Raises:
        ExportError: if the file is not an uncompressed TFRecord of `PredictionLog`s, or holds
            more than 1000 of them.
    """
    path = version / WARMUP_FILE
    if not path.exists():
        return
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            if number == MAX_WARMUP_RECORDS:
                raise ExportError(
                    f"{path}: expected at most {MAX_WARMUP_RECORDS} warm-up records. "
                    "Received: more."
                )
            yield prediction_log_pb2.PredictionLog.FromString(record)
    except tf.errors.OpError as error:
        raise ExportError(
            f"{path}: expected an uncompressed TFRecord file. Received: {error.message}."
        ) from error
    except DecodeError as error:
        raise ExportError(f"{path}: record {number} is no PredictionLog. {error}") from error


def _batches(signature: Signature, batch_sizes: Sequence[int]) -> Iterator[dict[str, np.ndarray]]:
    for index in range(len(signature.examples)):
        arrays = signature.arrays(index)
        yield arrays
        if all(len(array) == 1 for array in arrays.values()):
            for size in batch_sizes:
                if size > 1:
                    yield {name: np.repeat(array, size, 0) for name, array in arrays.items()}


def _request(
    name: str, signature: Signature, arrays: Mapping[str, np.ndarray]
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = name  # a server ignores the model's name and version here
    for key, array in arrays.items():
        dtype = signature.inputs[key].dtype
        request.inputs[key].CopyFrom(tf.make_tensor_proto(array, dtype=dtype))
    return request
