"""The Python client: `Client`, `AsyncClient` and `Editor`, how they connect, and the one error they raise."""

from gateway.client.calls import CallFailed
from gateway.client.client import AsyncClient, Client, as_json
from gateway.client.connecting import Tls
from gateway.client.editor import Editor

__all__ = ["AsyncClient", "CallFailed", "Client", "Editor", "Tls", "as_json"]
