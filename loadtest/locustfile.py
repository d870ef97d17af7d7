"""The gateway as a Locust user, for those whose tests are in Locust: `pip install locust gevent`, then

    locust -f loadtest/locustfile.py --headless --users 100 --spawn-rate 20 --run-time 1m --host 127.0.0.1:50051

Locust runs its users as greenlets on one thread, which one blocking call would stop. It patches Python's own sockets,
but gRPC waits in C, where a patch does not reach: `init_gevent` gives it gevent's loop instead, and has to be called
before the first channel is made. All users of a process share one channel.

Each user asks RATE questions a second as long as answers come in time, and fewer when they do not. That is a closed
loop: a server that stalls is asked less, and what was not asked has no latency. `gateway loadtest run` does not wait.
"""

from __future__ import annotations

import random
import time
from typing import ClassVar

# First: importing it patches the standard library.
from locust import User, constant_throughput, task

# isort: split
import grpc
import grpc.experimental.gevent

from gateway.v1 import gateway_pb2 as pb
from gateway.v1 import gateway_pb2_grpc
from loadtest import questions

grpc.experimental.gevent.init_gevent()

RATE = 1.0
"""Questions a second of each user."""
TIMEOUT = 0.2
"""Seconds."""
TEXTS = questions.read().texts


class GatewayUser(User):
    """Asks one of the shipped questions at a time. What ends in another status than OK is a failure."""

    wait_time = constant_throughput(RATE)
    _stubs: ClassVar[dict[str, gateway_pb2_grpc.AnswersStub]] = {}

    def on_start(self) -> None:
        if self.host not in self._stubs:
            self._stubs[self.host] = gateway_pb2_grpc.AnswersStub(grpc.insecure_channel(self.host))

    @task
    def ask(self) -> None:
        request = pb.AnswerRequest(question=random.choice(TEXTS))  # noqa: S311 - a sample, no secret
        started = time.perf_counter()
        failure, response, name = None, None, "Answer"
        try:
            response = self._stubs[self.host].Answer(request, timeout=TIMEOUT)
            name = f"Answer: {pb.Route.Name(response.route)}"
        except grpc.RpcError as error:
            failure = error
        self.environment.events.request.fire(
            request_type="grpc",
            name=name,
            response_time=1e3 * (time.perf_counter() - started),
            response_length=0 if response is None else response.ByteSize(),
            exception=failure,
            context={},
        )
