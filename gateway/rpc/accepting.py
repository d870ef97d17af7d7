"""Several gRPC servers on one port and one event loop, that act as one.

grpc.aio has one call accepted at a time for each server, and accepting takes a round through its poller's thread: some
1,300 calls a second on a slow core, whatever becomes of them (grpcio 1.80). Beyond that calls wait where nobody sees
them, until their deadlines have nearly passed: asked five times what it can answer, one server answered nothing in time
with a third of its core idle. The kernel spreads connections over the servers, as it does over workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc
import grpc.aio

SERVERS = 8


class Servers:
    """So much of `grpc.aio.Server` as is needed here. The options must let a port be shared."""

    def __init__(self, options: Sequence[tuple[str, int]], count: int = SERVERS) -> None:
        self.each = [grpc.aio.server(options=list(options)) for _ in range(count)]

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        for server in self.each:
            server.add_generic_rpc_handlers(handlers)

    def add_port(self, host: str, port: int, credentials: Callable[[], grpc.ServerCredentials] | None = None) -> int:
        """Bind all to one port; 0 lets the first one choose. `credentials` for each of them; None: without TLS. Raises
        RuntimeError where it is taken."""
        for server in self.each:
            address = f"{host}:{port}"
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials())
        return port

    async def start(self) -> None:
        for server in self.each:
            await server.start()

    async def stop(self, grace: float | None) -> None:
        await asyncio.gather(*(server.stop(grace) for server in self.each))
