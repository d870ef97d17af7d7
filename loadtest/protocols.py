"""The APIs that a load can be sent over, by the names that the commands take."""

from __future__ import annotations

from collections.abc import Callable

from loadtest.echo import EchoTarget
from loadtest.gateway_targets import GatewayTarget, StreamTarget
from loadtest.inference_target import OpenInferenceTarget
from loadtest.targets import Access, Target

GATEWAY = "gateway"
STREAM = "gateway-stream"


def _triton(address: str, channels: int, access: Access) -> Target:
    return OpenInferenceTarget(address, channels, access, is_raw=True)


def _mlserver(address: str, channels: int, access: Access) -> Target:
    return OpenInferenceTarget(address, channels, access, is_raw=False)


PROTOCOLS: dict[str, Callable[[str, int, Access], Target]] = {
    GATEWAY: GatewayTarget,
    STREAM: StreamTarget,
    "triton": _triton,
    "mlserver": _mlserver,
    "echo": EchoTarget,
}
"""Each makes a target of an address, a number of channels, and how one is let in."""
