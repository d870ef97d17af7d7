"""Asks a gateway, from asyncio or without it. Every call has a deadline; gRPC retries what was refused unworked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from gateway.client.asked import Asked
from gateway.client.calls import Connected, checked, ended, metadata_of, within
from gateway.client.connecting import Tls, aio_channel_to, channel_to
from gateway.client.failures import CallFailed, failure, failure_of
from gateway.convert import POLICY_TO_PROTO, RANKER_TO_PROTO, answer_from_proto, answer_keys, found_from_proto
from gateway.types import Answer, Criticality, Found, Policy, Principal, Ranker
from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc

DEFAULT_TIMEOUT = 1.0
"""Seconds, retries included."""

BACKOFF = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds until another stream is opened after one that a server has ended, and that answered nothing."""
QUIET = 1.0
"""Seconds after which a stream was no failure, though it answered nothing: perhaps nothing was asked."""
MAX_TIMEOUT_MS = 2**32 - 1
"""What fits into a stream's message; servers cut it to their own maximum."""


class AsyncClient:
    """For asyncio. One channel, which reconnects by itself; make it inside the running loop and close it."""

    def __init__(
        self,
        target: str,
        principal: Principal | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        criticality: Criticality | None = None,
        *,
        tls: Tls | None = None,
        api_key: str = "",
    ) -> None:
        """`criticality` of all that is asked here: what is refused last to first when too much is. None: critical.
        `principal` None, or an empty tenant of it: whoever the credentials are for. `tls` None: none is spoken.
        `api_key`: of the gateway, or a token of whom it trusts. Raises OSError for a file of `tls`."""
        self._channel = aio_channel_to(target, tls)
        self._answers = gateway_pb2_grpc.AnswersStub(self._channel)
        self._knowledge = gateway_pb2_grpc.KnowledgeStub(self._channel)
        self._metadata = metadata_of(principal, criticality, api_key)
        self._timeout = timeout

    async def answer(
        self,
        question: str,
        *,
        collection: str = "",
        policy: Policy | None = None,
        max_citations: int = 0,
        request_id: str = "",
        min_knowledge_version: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109  # it becomes the call's deadline
    ) -> Answer:
        """Raises CallFailed; abstaining is an Answer. `min_knowledge_version`: what a write returned, which the answer
        then sees. `timeout` is in seconds."""
        request = _request(question, collection, policy, max_citations, request_id, min_knowledge_version)
        response: pb.AnswerResponse = await self._call(
            self._answers.Answer, request, self._timeout if timeout is None else timeout
        )
        return answer_from_proto(response)

    async def answer_batch(
        self, questions: Iterable[str], *, collection: str = "", policy: Policy | None = None
    ) -> list[Answer | CallFailed]:
        """One answer, or the item's failure, for each question in order. At most 256."""
        batch = _batch(questions, collection, policy)
        response: pb.AnswerBatchResponse = await self._call(self._answers.AnswerBatch, batch, self._timeout)
        return [_item(item) for item in response.items]

    async def answer_stream(
        self,
        questions: AsyncIterable[str] | Iterable[str],
        *,
        collection: str = "",
        policy: Policy | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # each question's, kept by the server
    ) -> AsyncIterator[tuple[int, Answer | CallFailed]]:
        """(number of the question, its answer or failure) over one stream, in the order in which they are ready.

        Cheaper than a call for each, by what a call costs. Questions are taken as fast as the server reads them. Where
        a server stops, or ends an old stream, what it has not answered is asked again in a new one. Raises CallFailed
        where the stream ends early otherwise, and whatever `questions` raises, once those before it are answered.
        """
        milliseconds = max(1, round(1000 * checked(self._timeout if timeout is None else timeout)))

        def to_request(number: int, text: str) -> pb.AnswerStreamRequest:
            question = _request(text, collection, policy, request_id=str(number))
            return pb.AnswerStreamRequest(question=question, timeout_ms=min(milliseconds, MAX_TIMEOUT_MS))

        asked = Asked(questions, to_request)
        try:
            waits = iter(BACKOFF)
            while True:
                began = asyncio.get_running_loop().time()
                # Written by hand: gRPC's own reading of a generator may cancel the call when its stream ends meanwhile.
                call = self._answers.AnswerStream(metadata=self._metadata)
                writing = asyncio.create_task(_write(call, asked.requests()))
                try:
                    while (response := await call.read()) is not grpc.aio.EOF:
                        waits = iter(BACKOFF)
                        number = int(response.request_id)
                        asked.answered(number)
                        yield number, _item(response)
                    return
                except grpc.RpcError as error:
                    ended = failure(error)
                    if asyncio.get_running_loop().time() - began > QUIET:
                        waits = iter(BACKOFF)
                    wait = next(waits, None) if ended.reason == "DRAINING" else None
                    if wait is None:
                        raise ended from None
                    await asyncio.sleep(wait)
                finally:
                    writing.cancel()
                    call.cancel()  # a stream that is left early would otherwise stay open
        finally:
            await asked.close()

    async def search(
        self,
        query: str,
        *,
        collection: str = "",
        limit: int = 0,
        ranker: Ranker | None = None,
        min_knowledge_version: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
    ) -> list[Found]:
        """The best documents, best first; nothing is decided. `ranker` None: the server's default. As `answer`."""
        request = _lookup(query, collection, limit, ranker, min_knowledge_version)
        response: pb.SearchResponse = await self._call(
            self._knowledge.Search, request, self._timeout if timeout is None else timeout
        )
        return [found_from_proto(hit) for hit in response.hits]

    async def feedback(
        self,
        audit_id: str,
        *,
        is_correct: bool,
        label: str = "",
        document_id: str = "",
        no_answer: bool = False,
        comment: str = "",
    ) -> bool:
        """Say whether the answer with that `audit_id` was right, and what would have been: a label, a document, or that
        nothing there answers the question. Whether that is new; giving it again changes nothing. Raises CallFailed."""
        request = _feedback(audit_id, is_correct, label, document_id, no_answer, comment)
        response: pb.GiveFeedbackResponse = await self._call(self._answers.GiveFeedback, request, self._timeout)
        return response.changed

    async def _call(self, method: Any, request: Any, seconds: float) -> Any:
        try:
            return await ended(method(request, **within(seconds, self._metadata)), seconds)
        except grpc.RpcError as error:
            raise failure(error) from None

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Client(Connected):
    """For everyone else; safe to share between threads. Same methods but for streams, same errors."""

    def __init__(
        self,
        target: str,
        principal: Principal | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        criticality: Criticality | None = None,
        *,
        tls: Tls | None = None,
        api_key: str = "",
    ) -> None:
        """As `AsyncClient`."""
        self._channel = channel_to(target, tls)
        self._answers = gateway_pb2_grpc.AnswersStub(self._channel)
        self._knowledge = gateway_pb2_grpc.KnowledgeStub(self._channel)
        self._metadata = metadata_of(principal, criticality, api_key)
        self._timeout = timeout

    def answer(
        self,
        question: str,
        *,
        collection: str = "",
        policy: Policy | None = None,
        max_citations: int = 0,
        request_id: str = "",
        min_knowledge_version: int = 0,
        timeout: float | None = None,
    ) -> Answer:
        """Raises CallFailed; abstaining is an Answer. `min_knowledge_version`: what a write returned, which the answer
        then sees. `timeout` is in seconds."""
        request = _request(question, collection, policy, max_citations, request_id, min_knowledge_version)
        try:
            response: pb.AnswerResponse = self._answers.Answer(
                request, **within(self._timeout if timeout is None else timeout, self._metadata)
            )
        except grpc.RpcError as error:
            raise failure(error) from None
        return answer_from_proto(response)

    def answer_batch(
        self, questions: Iterable[str], *, collection: str = "", policy: Policy | None = None
    ) -> list[Answer | CallFailed]:
        """One answer, or the item's failure, for each question in order. At most 256."""
        batch = _batch(questions, collection, policy)
        try:
            response: pb.AnswerBatchResponse = self._answers.AnswerBatch(batch, **within(self._timeout, self._metadata))
        except grpc.RpcError as error:
            raise failure(error) from None
        return [_item(item) for item in response.items]

    def search(
        self,
        query: str,
        *,
        collection: str = "",
        limit: int = 0,
        ranker: Ranker | None = None,
        min_knowledge_version: int = 0,
        timeout: float | None = None,
    ) -> list[Found]:
        """The best documents, best first; nothing is decided. `ranker` None: the server's default. As `answer`."""
        request = _lookup(query, collection, limit, ranker, min_knowledge_version)
        try:
            response: pb.SearchResponse = self._knowledge.Search(
                request, **within(self._timeout if timeout is None else timeout, self._metadata)
            )
        except grpc.RpcError as error:
            raise failure(error) from None
        return [found_from_proto(hit) for hit in response.hits]

    def feedback(
        self,
        audit_id: str,
        *,
        is_correct: bool,
        label: str = "",
        document_id: str = "",
        no_answer: bool = False,
        comment: str = "",
    ) -> bool:
        """Say whether the answer with that `audit_id` was right, and what would have been: a label, a document, or that
        nothing there answers the question. Whether that is new; giving it again changes nothing. Raises CallFailed."""
        request = _feedback(audit_id, is_correct, label, document_id, no_answer, comment)
        try:
            response: pb.GiveFeedbackResponse = self._answers.GiveFeedback(
                request, **within(self._timeout, self._metadata)
            )
        except grpc.RpcError as error:
            raise failure(error) from None
        return response.changed


def as_json(answer: Answer, request_id: str = "") -> str:
    """The answer with the keys of the API, all of them but what is absent: a tier that did not run, no hand-off."""
    return json.dumps(answer_keys(answer, request_id), ensure_ascii=False, indent=2)


def _request(
    question: str,
    collection: str,
    policy: Policy | None,
    max_citations: int = 0,
    request_id: str = "",
    min_knowledge_version: int = 0,
) -> pb.AnswerRequest:
    return pb.AnswerRequest(
        question=question,
        collection=collection,
        policy=pb.POLICY_UNSPECIFIED if policy is None else POLICY_TO_PROTO[policy],
        max_citations=max_citations,
        request_id=request_id,
        min_knowledge_version=min_knowledge_version,
    )


def _feedback(
    audit_id: str, is_correct: bool, label: str, document_id: str, no_answer: bool, comment: str
) -> pb.GiveFeedbackRequest:
    return pb.GiveFeedbackRequest(
        audit_id=audit_id,
        verdict=pb.VERDICT_CORRECT if is_correct else pb.VERDICT_INCORRECT,
        label=label,
        document_id=document_id,
        no_answer=no_answer,
        comment=comment,
    )


def _lookup(
    query: str, collection: str, limit: int, ranker: Ranker | None, min_knowledge_version: int
) -> pb.SearchRequest:
    return pb.SearchRequest(
        query=query,
        collection=collection,
        limit=limit,
        ranker=pb.RANKER_UNSPECIFIED if ranker is None else RANKER_TO_PROTO[ranker],
        min_knowledge_version=min_knowledge_version,
    )


def _batch(questions: Iterable[str], collection: str, policy: Policy | None) -> pb.AnswerBatchRequest:
    return pb.AnswerBatchRequest(items=[_request(question, collection, policy) for question in questions])


async def _write(call: Any, requests: AsyncIterator[pb.AnswerStreamRequest]) -> None:
    try:
        async for request in requests:
            await call.write(request)
        await call.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        pass  # the stream has ended, and who reads it hears why


def _item(item: pb.AnswerBatchItem | pb.AnswerStreamResponse) -> Answer | CallFailed:
    if item.HasField("answer"):
        return answer_from_proto(item.answer)
    return failure_of(item.error)
