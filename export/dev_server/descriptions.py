"""What a server tells about its models: the status of versions and the signatures of one."""

from __future__ import annotations

from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from export.dev_server.models import Loaded, Models
from export.errors import CODES


def status_response(
    models: Models, name: str, version: int | None
) -> get_model_status_pb2.GetModelStatusResponse:
    """The versions of a model, newest first, and what became of them."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for found in models.status(name, version):
        entry = response.model_version_status.add()
        entry.version = found.version
        entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(found.state)
        entry.status.SetInParent()  # present, though all of it may be default
        if found.error:
            entry.status.error_code = CODES.index(found.error.code)
            entry.status.error_message = found.error.message
    return response


def signature_map(loaded: Loaded) -> get_model_metadata_pb2.SignatureDefMap:
    """All signatures of a version."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in loaded.servable.signatures.items():
        signatures.signature_def[name].CopyFrom(definition)
    return signatures


def metadata_document(loaded: Loaded) -> dict[str, object]:
    """The metadata of a version as REST writes it."""
    return {
        "model_spec": {"name": loaded.model, "signature_name": "", "version": str(loaded.version)},
        "metadata": {"signature_def": to_document(signature_map(loaded))},
    }


def to_document(message: Message) -> dict[str, object]:
    """A message as JSON with the names of the .proto file and every field, default or not."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
