"""Which string of a request is not UTF-8: protobuf refuses the whole message for it, and does not say where."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

LENGTH_DELIMITED = 2  # the wire type of strings and messages


def not_utf8(kind: Descriptor, data: bytes) -> str:
    """The path of the first such field, as "items[3].question"; empty if the bytes are broken in another way."""
    try:
        # To a message without fields everything is unknown, and kept with its number and its bytes.
        found = UnknownFieldSet(Empty.FromString(data))
    except DecodeError:
        return ""
    seen: dict[str, int] = {}
    for one in found:
        field = kind.fields_by_number.get(one.field_number)
        if field is None or one.wire_type != LENGTH_DELIMITED:
            continue
        number = seen[field.name] = seen.get(field.name, -1) + 1
        name = f"{field.name}[{number}]" if field.is_repeated else field.name
        if field.type == FieldDescriptor.TYPE_STRING and not _decodes(one.data):
            return name
        if field.type == FieldDescriptor.TYPE_MESSAGE and (inner := not_utf8(field.message_type, one.data)):
            return f"{name}.{inner}"
    return ""


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
