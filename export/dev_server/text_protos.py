"""Configuration files in Protocol Buffers' text format, and the schemas that no package ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

from export.errors import ExportError

_Message = TypeVar("_Message", bound=Message)
_PACKAGE = "keras_attention.serving"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"bool": _FIELD.TYPE_BOOL, "int64": _FIELD.TYPE_INT64, "string": _FIELD.TYPE_STRING}


def read_text(path: Path, message: _Message, kind: str) -> _Message:
    """Reads a file into `message`, and returns it.

    Args:
        path: the file.
        message: an empty message.
        kind: its full name, for the error.

    Raises:
        ExportError: if the file cannot be read, or is something else.
    """
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: Error parsing text-format {kind}: {error}") from error
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}") from error


def _schemas() -> dict[str, type[Message]]:
    """Message classes with the names and numbers of TensorFlow Serving's own files."""
    file = descriptor_pb2.FileDescriptorProto(name="keras_attention.proto", package=_PACKAGE)

    def add(message: str, **fields: tuple[int, str]) -> None:
        made = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            label = _FIELD.LABEL_REPEATED if "repeated " in kind else _FIELD.LABEL_OPTIONAL
            kind = kind.removeprefix("repeated ")
            if kind in _SCALARS:
                made.field.add(name=name, number=number, type=_SCALARS[kind], label=label)
            else:
                made.field.add(
                    name=name,
                    number=number,
                    type=_FIELD.TYPE_MESSAGE,
                    label=label,
                    type_name=f".{_PACKAGE}.{kind}",
                )

    add("Int64Value", value=(1, "int64"))
    add("StringValue", value=(1, "string"))
    add("BoolValue", value=(1, "bool"))
    add(
        "BatchingParameters",
        max_batch_size=(1, "Int64Value"),
        batch_timeout_micros=(2, "Int64Value"),
        max_enqueued_batches=(3, "Int64Value"),
        num_batch_threads=(4, "Int64Value"),
        thread_pool_name=(5, "StringValue"),
        allowed_batch_sizes=(6, "repeated int64"),
        pad_variable_length_inputs=(7, "bool"),
        enable_large_batch_splitting=(8, "BoolValue"),
        max_execution_batch_size=(9, "Int64Value"),
    )
    add("PrometheusConfig", enable=(1, "bool"), path=(2, "string"))
    add("MonitoringConfig", prometheus_config=(1, "PrometheusConfig"))
    add(
        "SSLConfig",
        server_key=(1, "string"),
        server_cert=(2, "string"),
        custom_ca=(3, "string"),
        client_verify=(4, "bool"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        made.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{made.name}")
        )
        for made in file.message_type
    }


_MADE: dict[str, Any] = _schemas()
BatchingParameters = _MADE["BatchingParameters"]
MonitoringConfig = _MADE["MonitoringConfig"]
SSLConfig = _MADE["SSLConfig"]
