"""A network that misbehaves: what goes through it is slow, stops, is cut off, or is swallowed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK = 1 << 14


@dataclass(slots=True)
class Proxy:
    """Between a caller and 127.0.0.1:`to`. What is set holds from the next bytes on."""

    to: int
    port: int = 0
    delay: float = 0.0
    """Seconds by which every piece comes late, in each direction."""
    rate: float = 0.0
    """Bytes a second; 0: as many as there are."""
    is_hole: bool = False
    """Everything is taken, and nothing comes out: as where a cable was pulled, both ends stay connected."""
    pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = field(default_factory=list)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.close()
            return
        self.pairs.append((writer, back))
        await asyncio.gather(self._carry(reader, back), self._carry(there, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(1 if self.rate else CHUNK):
                if self.is_hole:
                    continue
                if wait := self.delay + (len(piece) / self.rate if self.rate else 0.0):
                    await asyncio.sleep(wait)
                writer.write(piece)
                await writer.drain()
        writer.close()

    def reset(self) -> None:
        """End every connection by RST, on both sides, with what was on its way."""
        for pair in self.pairs:
            for writer in pair:
                if writer.transport.is_closing():
                    continue  # one that has gone by itself has no socket any more
                raw = writer.get_extra_info("socket")
                # Lingering for no time is what makes it RST and not FIN.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        self.pairs.clear()


@asynccontextmanager
async def proxied(to: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(to)
    carrying: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(task := asyncio.ensure_future(proxy.accept(reader, writer)))
        task.add_done_callback(carrying.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.reset()
        for task in list(carrying):
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
