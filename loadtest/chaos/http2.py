"""Just enough of HTTP/2 to send what no client library would: calls whose time is up, resets, half a handshake, lies
about lengths. What comes back is counted and not understood."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL = (8).to_bytes(4, "big")
ANSWER = "/gateway.v1.Answers/Answer"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113, 4.1."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def headers(stream: int, path: str = ANSWER, more: Mapping[str, str] | None = None) -> bytes:
    """The HEADERS of a gRPC call. Every field is written out, so that nothing has to be remembered."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **(more or {}),
    }
    block = b"".join(b"\0" + _string(name) + _string(value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block)


def message(stream: int, body: bytes, length: int | None = None, *, ends: bool = True) -> bytes:
    """One gRPC message; `length` is what its prefix says, if that is a lie."""
    prefix = b"\0" + (len(body) if length is None else length).to_bytes(4, "big")
    return frame(DATA, END_STREAM if ends else 0, stream, prefix + body)


def _string(text: str) -> bytes:
    """RFC 7541, 5.2, without Huffman's code."""
    raw = text.encode()
    return _integer(len(raw)) + raw


def _integer(value: int) -> bytes:
    """RFC 7541, 5.1, with a prefix of 7 bits."""
    if value < 127:
        return bytes((value,))
    found, value = bytearray((127,)), value - 127
    while value >= 128:
        found.append(value % 128 + 128)
        value //= 128
    return bytes((*found, value))


class Raw:
    """A connection on which any bytes can be sent. What comes is read and its frames are counted, but for what a server
    waits for an answer to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.frames: dict[int, int] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def to(cls, port: int, *, greets: bool = True) -> Self:
        """Raises OSError."""
        connection = cls(*await asyncio.open_connection("127.0.0.1", port))
        if greets:
            await connection.send(PREFACE + frame(SETTINGS, 0, 0))
        return connection

    @property
    def is_over(self) -> bool:
        """Whether the server has said goodbye, or has hung up."""
        return GOAWAY in self.frames or self._reading.done()

    async def send(self, what: bytes) -> None:
        """Raises OSError where the server has hung up."""
        self._writer.write(what)
        await self._writer.drain()

    async def over(self, patience: float) -> bool:
        """Whether the server hangs up within so many seconds."""
        await asyncio.wait({self._reading}, timeout=patience)
        return self._reading.done()

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _read(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, flags = head[3], head[4]
                self.frames[kind] = self.frames.get(kind, 0) + 1
                if kind in (SETTINGS, PING) and not flags & ACK:
                    self._writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
