"""The least that any gRPC server in Python costs: `python -m loadtest.echo PORT` answers every call with its request.

It is what `grpc.aio` on uvloop takes for a call by itself, to be taken from what a server takes that does something.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import uvloop

from loadtest.targets import OK, OPEN, Access, Metadata, Outcome, connect, disconnect, failed

ANY = 30.0
"""Seconds for what is in flight at the end."""


class _Echo(grpc.GenericRpcHandler):
    """Of every method; bytes in and out, as protobuf is not what is measured."""

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(_echo)


async def _echo(request: bytes, _: object) -> bytes:
    return request


class EchoTarget:
    """Sends the question as it is, on each channel in turn."""

    def __init__(self, address: str, channels: int, access: Access = OPEN) -> None:
        self._channels = connect(address, channels, access)
        self._calls: Iterator[Any] = itertools.cycle(
            [channel.unary_unary("/loadtest.Echo/Echo") for channel in self._channels]
        )

    async def send(self, question: str, timeout: float, metadata: Metadata) -> Outcome:  # noqa: ASYNC109
        try:
            await next(self._calls)(question.encode(), timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return failed(error)
        return Outcome(OK)

    async def close(self) -> None:
        await disconnect(self._channels)


async def serve(port: int) -> None:
    """Until SIGTERM or SIGINT."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.stop(ANY)


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
