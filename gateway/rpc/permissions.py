"""What each method needs: the one table, without which no method is served."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.access.grants import Scope

NEEDS: Mapping[str, Scope | None] = {
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
    # The Open Inference Protocol, whose probes and descriptions ask nobody who calls.
    "/inference.GRPCInferenceService/ServerLive": None,
    "/inference.GRPCInferenceService/ServerReady": None,
    "/inference.GRPCInferenceService/ModelReady": None,
    "/inference.GRPCInferenceService/ServerMetadata": None,
    "/inference.GRPCInferenceService/ModelMetadata": None,
    "/inference.GRPCInferenceService/ModelConfig": None,
    "/inference.GRPCInferenceService/RepositoryIndex": None,
    "/inference.GRPCInferenceService/ModelInfer": Scope.ASK,
    "/inference.GRPCInferenceService/ModelStreamInfer": Scope.ASK,
    "/inference.GRPCInferenceService/ModelStatistics": Scope.ASK,
    "/inference.GRPCInferenceService/RepositoryModelLoad": Scope.ADMIN,
    "/inference.GRPCInferenceService/RepositoryModelUnload": Scope.ADMIN,
}
"""Method -> scope; None: nobody is asked who calls."""

PUBLIC = frozenset({"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"})
"""Services that ask nobody who calls: probes have no keys, and the API is no secret, which server.reflection shows."""


def need(service: str, method: str) -> Scope | None:
    """Raises KeyError for a method that is in no row."""
    return NEEDS[f"/{service}/{method}"]
