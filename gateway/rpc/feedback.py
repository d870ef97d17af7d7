"""The method of gateway.v1.Answers that takes what callers say of answers."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.audit.cases import Verdict
from gateway.audit.log import AuditLog
from gateway.errors import InvalidQuestion, NoAuditLog
from gateway.rpc.admission import Admission
from gateway.rpc.handler import Call, Method
from gateway.rpc.reach import check_id
from gateway.rpc.servicers import ANSWERS
from gateway.rpc.validate import check_text
from gateway.telemetry.metrics import Metrics
from gateway.v1 import gateway_pb2 as pb

MAX_LABEL, MAX_COMMENT = 128, 2000


class Feedback:
    """`audit` is None where no log of answers is kept."""

    def __init__(self, audit: AuditLog | None, admission: Admission, metrics: Metrics) -> None:
        self._audit = audit
        self._admission = admission
        self._metrics = metrics

    def methods(self) -> list[Method[Any, Any]]:
        return [Method(ANSWERS, "GiveFeedback", pb.GiveFeedbackRequest, self.give)]

    async def give(self, request: pb.GiveFeedbackRequest, call: Call) -> pb.GiveFeedbackResponse:
        if self._audit is None:
            raise NoAuditLog
        tenant = call.caller.principal.tenant
        verdict = verdict_of(request, tenant)
        self._admission.charge(tenant, 1)
        is_new = await asyncio.to_thread(self._audit.judge, verdict)
        if is_new:
            self._metrics.observe_verdict(verdict.is_wrong)
        return pb.GiveFeedbackResponse(changed=is_new)


def verdict_of(request: pb.GiveFeedbackRequest, tenant: str) -> Verdict:
    """Raises InvalidQuestion."""
    if request.verdict not in (pb.VERDICT_CORRECT, pb.VERDICT_INCORRECT):
        raise InvalidQuestion("verdict", "must be VERDICT_CORRECT or VERDICT_INCORRECT")
    if len(request.label) > MAX_LABEL or not request.label.isprintable():
        raise InvalidQuestion("label", f"must be at most {MAX_LABEL} printable characters")
    if request.document_id:
        check_id("document_id", request.document_id)
    if request.no_answer and (request.label or request.document_id):
        raise InvalidQuestion("no_answer", "does not go with a label or a document")
    if request.comment:
        check_text("comment", request.comment, MAX_COMMENT)
    return Verdict(
        id=request.audit_id,
        tenant=tenant,
        is_wrong=request.verdict == pb.VERDICT_INCORRECT,
        label=request.label,
        document=request.document_id,
        no_answer=request.no_answer,
        comment=request.comment,
    )
