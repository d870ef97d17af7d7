"""The Python client: `Client`, `AsyncClient` and `Editor`, and the one error they raise."""

from gateway.client.calls import CallFailed
from gateway.client.client import AsyncClient, Client, as_json
from gateway.client.editor import Editor

__all__ = ["AsyncClient", "CallFailed", "Client", "Editor", "as_json"]
