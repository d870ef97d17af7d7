"""Inputs: whole messages of any kind, and bytes that were once a whole input."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

EDGES = (0, 1, 2, 3, 7, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1)
TEXTS = (
    "",
    "help",
    "word1 word2",
    "a",
    "default",
    "\0",
    "\u202eabc",
    "e\u0301" * 3,
    "\U0001d4b3",
    "../../etc/passwd",
    "' OR 1=1 --",
    "{}",
    "%s%n",
    "<img src=x onerror=alert(1)>",
    "word1 " * 40,
    "x" * 3000,
)
USUAL = {"collection": "help", "document_id": "a", "id": "a", "question": "word1 word2", "query": "word1"}
"""Of fields of these names: else hardly any message says something."""
KEYS = ("policy", "collection", "timeout", "tenant", "max_citations", "anything")
"""Of maps."""
PIECES = (
    b"\xff",
    b"\x00",
    b"\x80" * 9 + b"\x01",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"{",
    b"\n",
    b"%PDF-",
    b"---\n",
    b"\xed\xa0\x80",
)
DEEPEST = 4


def message(kind: type[Message], chance: random.Random, depth: int = 0) -> Message:
    """One of that kind with some of its fields."""
    made = kind()
    for field in made.DESCRIPTOR.fields:
        if chance.random() < 0.3 or (field.message_type and depth >= DEEPEST):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            for key in chance.choices(KEYS, k=chance.choice((0, 1, 2))):
                value = getattr(made, field.name)[key]
                value.CopyFrom(message(type(value), chance, depth + 1))
        elif field.is_repeated:
            values = [_value(made, field, chance, depth) for _ in range(chance.choice((0, 1, 1, 2, 5)))]
            if field.message_type:
                for value in values:
                    getattr(made, field.name).add().CopyFrom(value)
            else:
                getattr(made, field.name).extend(values)
        elif field.message_type:
            getattr(made, field.name).CopyFrom(_value(made, field, chance, depth))
        else:
            setattr(made, field.name, _value(made, field, chance, depth))
    return made


def _value(made: Message, field: FieldDescriptor, chance: random.Random, depth: int) -> Any:
    if field.message_type:
        return message(
            type(getattr(made, field.name)) if not field.is_repeated else _element(made, field), chance, depth + 1
        )
    if field.type == FieldDescriptor.TYPE_STRING:
        usual = USUAL.get(field.name)
        return usual if usual and chance.random() < 0.7 else chance.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.randrange(8))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return chance.choice((0.0, 0.5, -1.0, 1e300, float("nan"), float("inf")))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return chance.choice((*field.enum_type.values_by_number, 99))
    most = {FieldDescriptor.TYPE_INT32: 2**31 - 1, FieldDescriptor.TYPE_UINT32: 2**32 - 1}.get(field.type, 2**63 - 1)
    return min(chance.choice(EDGES), most)


def _element(made: Message, field: FieldDescriptor) -> type[Message]:
    return type(type(made)().__getattribute__(field.name).add())


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few of: a bit flipped, a piece put in, taken out, said twice or moved, the end cut off."""
    made = bytearray(data)
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 4, 8))):
        at = chance.randrange(len(made) + 1)
        end = min(len(made), at + chance.choice((1, 1, 2, 4, 16)))
        match chance.randrange(6):
            case 0 if made:
                made[at % len(made)] ^= 1 << chance.randrange(8)
            case 1:
                made[at:at] = chance.choice(PIECES)
            case 2:
                del made[at:end]
            case 3:
                made[at:at] = made[at:end]
            case 4:
                piece = made[at:end]
                del made[at:end]
                to = chance.randrange(len(made) + 1)
                made[to:to] = piece
            case _:
                if chance.random() < 0.3:
                    del made[at:]
    return bytes(made)
