"""What a request of the Open Inference Protocol says besides its tensors: ours, and what is the protocol's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.convert import POLICY_TO_PROTO
from gateway.errors import InvalidQuestion
from gateway.v1 import gateway_pb2
from gateway.v1 import open_inference_pb2 as pb

POLICIES = {policy.value: number for policy, number in POLICY_TO_PROTO.items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """`timeout` in seconds, None where it is the call's own. What is unknown is left alone: clients send keys of their
    own, and Triton's with every request."""

    collection: str = ""
    policy: int = gateway_pb2.POLICY_UNSPECIFIED
    max_citations: int = 0
    timeout: float | None = None
    tenant: str = ""


NOTHING = Wanted()


def wanted_in(parameters: Mapping[str, pb.InferParameter]) -> Wanted:
    """Raises InvalidQuestion for one of ours that is of another kind, or has no such value."""
    if not parameters:
        return NOTHING
    policy = _text(parameters, "policy")
    if policy and policy not in POLICIES:
        raise InvalidQuestion("parameters.policy", f"has no such value; there are {', '.join(POLICIES)}")
    timeout = _number(parameters, "timeout")  # microseconds; 0 is none
    return Wanted(
        collection=_text(parameters, "collection"),
        policy=POLICIES.get(policy, gateway_pb2.POLICY_UNSPECIFIED),
        max_citations=_number(parameters, "max_citations"),
        timeout=timeout / 1e6 if timeout else None,
        tenant=_text(parameters, "tenant"),
    )


def timeout_in(request: pb.ModelInferRequest) -> float | None:
    """Of a message of a stream: None for one that is wrong, which is said when it is read."""
    try:
        return wanted_in(request.parameters).timeout
    except InvalidQuestion:
        return None


def _text(parameters: Mapping[str, pb.InferParameter], name: str) -> str:
    if name not in parameters:
        return ""
    if parameters[name].WhichOneof("parameter_choice") != "string_param":
        raise InvalidQuestion(f"parameters.{name}", "must be a string")
    return parameters[name].string_param


def _number(parameters: Mapping[str, pb.InferParameter], name: str) -> int:
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise InvalidQuestion(f"parameters.{name}", "must be a whole number")
    found = int(getattr(parameters[name], kind))
    if not 0 <= found < 2**31:
        raise InvalidQuestion(f"parameters.{name}", "must be from 0 to 2147483647")
    return found
