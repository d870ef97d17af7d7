"""The Python client: `Client`, `AsyncClient`, and the one error they raise."""

from gateway.client.client import AsyncClient, CallFailed, Client, as_json

__all__ = ["AsyncClient", "CallFailed", "Client", "as_json"]
