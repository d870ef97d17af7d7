"""What each method needs: the one table, without which no method is served."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.access.grants import Scope

NEEDS: Mapping[str, Scope] = {
    "/gateway.v1.Answers/Answer": Scope.ASK,
    "/gateway.v1.Answers/AnswerBatch": Scope.ASK,
    "/gateway.v1.Answers/AnswerStream": Scope.ASK,
    "/gateway.v1.Answers/GiveFeedback": Scope.FEEDBACK,
    "/gateway.v1.Knowledge/Search": Scope.SEARCH,
    # Who was shown a citation may look it up, and asking is how one is shown.
    "/gateway.v1.Knowledge/GetCitation": Scope.ASK,
    "/gateway.v1.Knowledge/Get": Scope.READ,
    "/gateway.v1.Knowledge/List": Scope.READ,
    "/gateway.v1.Knowledge/ListCollections": Scope.READ,
    "/gateway.v1.Knowledge/Stats": Scope.READ,
    "/gateway.v1.Knowledge/Watch": Scope.READ,
    "/gateway.v1.Knowledge/Upsert": Scope.WRITE,
    "/gateway.v1.Knowledge/UpsertStream": Scope.WRITE,
    "/gateway.v1.Knowledge/Delete": Scope.WRITE,
    "/gateway.v1.Knowledge/CreateCollection": Scope.WRITE,
    "/gateway.v1.Knowledge/DropCollection": Scope.WRITE,
    "/gateway.v1.Knowledge/SetConfidence": Scope.WRITE,
}

PUBLIC = frozenset({"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"})
"""Services that ask nobody who calls: probes have no keys, and the API is no secret, which server.reflection shows."""


def need(service: str, method: str) -> Scope:
    """Raises KeyError for a method that is in no row."""
    return NEEDS[f"/{service}/{method}"]
