"""Every way in which a request or a start-up can fail. Knows no transport: `rpc/status.py` maps these to gRPC codes.

GatewayError
├── expected: the caller or the load, counted and answered
│   ├── AccessDenied          a call is not let in
│   │   ├── Unauthenticated       nobody knows who makes it
│   │   └── PermissionDenied      who makes it may not
│   ├── InvalidQuestion       a field is wrong; names it
│   ├── UnknownCollection     no such collection
│   ├── UnknownModel          no such model, of those that clients of another protocol see
│   ├── UnknownDocument       no such document, or not for this caller
│   ├── UnknownAnswer         no such answer in the audit log, or not given to this caller
│   ├── NoAuditLog            this server keeps none
│   ├── VersionConflict       a document is not at the version that a change expects
│   │   └── HiddenDocuments       a collection that is to end has some that the writer may not read
│   ├── KnowledgeBehind       this server does not see the version that was asked for
│   ├── KnowledgeCleared      changes that were asked for are not kept any more
│   ├── KeyReused             an idempotency key was used for something else
│   ├── QuotaExceeded         the tenant asks more often than it may
│   ├── Overloaded            refused before work
│   │   └── Shed              so that others, who matter more, are answered in time
│   ├── DeadlineExceeded      no time left
│   │   └── DeadlineUnmeetable    there is time left, but not enough
│   └── Unavailable           nothing that could answer is up
│       ├── CircuitOpen       as it failed again and again, and is tried now and then
│       └── Draining          the server is stopping
└── ours to mend, logged
    ├── InferenceFailed       the session failed, or its output is not finite
    │   └── DeviceLost        and will fail again: it is the device's fault
    ├── SearchFailed          the index failed
    │   └── SearchSuspended       again and again, so that it is not asked for now
    ├── StoreFailed           the knowledge base's file cannot be read or written
    │   ├── StoreDamaged      or is not what was written
    │   └── StoreFull         as its disk is full
    ├── BundleInvalid         a bundle is missing, changed or does not fit
    ├── DocumentInvalid       an article cannot be read
    ├── ConfigInvalid         a setting is wrong; names it and where it came from
    └── DeviceUnavailable     the asked-for provider is not active
"""

from __future__ import annotations


class GatewayError(Exception):
    """The root; its text may be shown to whoever caused it, and never holds a question's text."""


class AccessDenied(GatewayError):
    """A call is not let in. `reason` is a value of types.Denial."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Unauthenticated(AccessDenied):
    """Nobody knows who calls. The caller hears no more than that: what is nearly right must not be found out."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            reason, "credentials are needed, and hold: an API key or a token as `authorization: Bearer ...`"
        )


class PermissionDenied(AccessDenied):
    """It is known who calls, and that caller may not do this."""


class InvalidQuestion(GatewayError):
    """A request's field is wrong. `field` is its path in the request."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class UnknownCollection(GatewayError):
    """The request names a collection that is not served."""


class UnknownModel(GatewayError):
    """The request names a model, or a version of one, that is not served."""


class UnknownDocument(GatewayError):
    """The request names a document that is not there, or that its caller may not read."""


class UnknownAnswer(GatewayError):
    """The request names an answer that was not given to its caller's tenant, or too long ago."""

    def __init__(self, answer_id: str) -> None:
        super().__init__(
            f"no answer {answer_id!r} was given to this tenant, or too long ago: name it by what its audit_id was"
        )


class NoAuditLog(GatewayError):
    """The request is about answers that were given, and the server keeps no log of them."""

    def __init__(self) -> None:
        super().__init__("this server keeps no audit log: it needs a folder for one, audit.folder")


class VersionConflict(GatewayError):
    """A change expects a document at another version than it has: somebody else changed it meanwhile. `version` None:
    it has one that the writer may not read, of which nothing else is told, whatever was expected."""

    def __init__(self, document_id: str, expected: int | None, version: int | None) -> None:
        super().__init__(
            f"{document_id} cannot be written by this caller: the id is taken"
            if version is None
            else f"{document_id} is at version {version}, and the change expects {expected}"
        )


class HiddenDocuments(VersionConflict):
    """A collection that is to end has documents that the writer may not read, and so may not delete."""

    def __init__(self) -> None:
        GatewayError.__init__(
            self,
            "the collection has documents that this caller may not read: it is ended by a caller with a group of each",
        )


class KnowledgeBehind(GatewayError):
    """The request asks for a knowledge version that is not seen here, or not yet."""

    def __init__(self, version: int, wanted: int) -> None:
        super().__init__(
            f"this server sees knowledge version {version}, and {wanted} was asked for: ask again in a moment, "
            "or where it was written"
        )


class KnowledgeCleared(GatewayError):
    """The request asks for changes of which too little is kept to tell them right."""

    def __init__(self, after: int) -> None:
        super().__init__(
            f"what came after knowledge version {after} is not all kept any more: list the collection, "
            "and watch from its knowledge version on"
        )


class KeyReused(GatewayError):
    """An idempotency key comes with another request than before."""


class QuotaExceeded(GatewayError):
    """The tenant asks more often than it may. `retry_after`: seconds until it may ask again."""

    def __init__(self, tenant: str, retry_after: float) -> None:
        super().__init__(
            f"tenant {tenant} asks, or writes, more often than it may; it may go on in {retry_after:.3f} s"
        )
        self.tenant = tenant
        self.retry_after = retry_after


class Overloaded(GatewayError):
    """Refused before any work: the gateway holds as much as it can answer in time."""


class Shed(Overloaded):
    """Refused although there is room, to keep the queue short. `level`: of all that can be shed, 0 to 1."""

    def __init__(self, message: str, level: float) -> None:
        super().__init__(message)
        self.level = level


class DeadlineExceeded(GatewayError):
    """The caller's deadline has passed."""


class DeadlineUnmeetable(DeadlineExceeded):
    """The caller's deadline would pass before an answer is ready, so nothing is begun."""


class Unavailable(GatewayError):
    """Nothing that could answer is up."""


class CircuitOpen(Unavailable):
    """No tier that could answer this question works: each has failed again and again, and is tried now and then."""

    def __init__(self) -> None:
        super().__init__("the model does not run, and no search can take its place: both are tried now and then")


class Draining(Unavailable):
    """This server is stopping; another one may answer at once."""


class InferenceFailed(GatewayError):
    """The session raised, or its output is not finite."""


class DeviceLost(InferenceFailed):
    """The session's device fails, and will fail again. `reason` is a value of types.Degradation."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SearchFailed(GatewayError):
    """The vector index raised."""


class SearchSuspended(SearchFailed):
    """It raised so often that it is left alone for a while."""


class StoreFailed(GatewayError):
    """The knowledge base's file cannot be opened, read or written."""


class StoreDamaged(StoreFailed):
    """What is on disk is not what was written, or not all of it is there. Nothing of that is shown."""


class StoreFull(StoreFailed):
    """Its disk is full: nothing was written, and reading goes on."""


class BundleInvalid(GatewayError):
    """A bundle is missing, was changed, or does not fit this version."""


class DocumentInvalid(GatewayError):
    """An article cannot be read."""


class ConfigInvalid(GatewayError):
    """A setting is wrong."""


class DeviceUnavailable(GatewayError):
    """The execution provider that was asked for is not active."""
