"""Every way in which a request or a start-up can fail. Knows no transport: `rpc/status.py` maps these to gRPC codes.

GatewayError
├── expected: the caller or the load, counted and answered
│   ├── InvalidQuestion       a field is wrong; names it
│   ├── UnknownCollection     no such collection
│   ├── Overloaded            refused before work
│   ├── DeadlineExceeded      no time left
│   └── Unavailable           stopping, or a needed tier is down
└── ours to mend, logged
    ├── InferenceFailed       the session failed, or its output is not finite
    ├── SearchFailed          the index failed
    ├── BundleInvalid         a bundle is missing, changed or does not fit
    ├── DocumentInvalid       an article cannot be read
    ├── ConfigInvalid         a setting is wrong; names it and where it came from
    └── DeviceUnavailable     the asked-for provider is not active
"""

from __future__ import annotations


class GatewayError(Exception):
    """The root; its text may be shown to whoever caused it, and never holds a question's text."""


class InvalidQuestion(GatewayError):
    """A request's field is wrong. `field` is its path in the request."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class UnknownCollection(GatewayError):
    """The request names a collection that is not served."""


class Overloaded(GatewayError):
    """Refused before any work: the gateway holds as much as it can answer in time."""


class DeadlineExceeded(GatewayError):
    """The caller's deadline has passed, or cannot be met."""


class Unavailable(GatewayError):
    """The gateway is stopping, or nothing that could answer is up."""


class InferenceFailed(GatewayError):
    """The session raised, or its output is not finite."""


class SearchFailed(GatewayError):
    """The vector index raised."""


class BundleInvalid(GatewayError):
    """A bundle is missing, was changed, or does not fit this version."""


class DocumentInvalid(GatewayError):
    """An article cannot be read."""


class ConfigInvalid(GatewayError):
    """A setting is wrong."""


class DeviceUnavailable(GatewayError):
    """The execution provider that was asked for is not active."""
