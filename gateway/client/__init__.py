"""The Python client: `Client`, `AsyncClient` and `Editor`, how they connect, and what they raise.

Imports neither the server nor numpy: what asks a gateway needs gRPC and protobuf alone.
"""

from gateway.client.client import AsyncClient, Client, as_json
from gateway.client.connecting import Tls
from gateway.client.editor import Editor
from gateway.client.failures import CallFailed, Conflict, NotLetIn, ServerFailed, TooLate, TryLater, WrongRequest

__all__ = [
    "AsyncClient",
    "CallFailed",
    "Client",
    "Conflict",
    "Editor",
    "NotLetIn",
    "ServerFailed",
    "Tls",
    "TooLate",
    "TryLater",
    "WrongRequest",
    "as_json",
]
