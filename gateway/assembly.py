"""The one file that composes the whole: from settings to a gateway that answers."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from gateway.cascade.calibration import EVIDENCE_DEPTH
from gateway.cascade.cascade import Cascade
from gateway.config import Config, Precision
from gateway.deadline import Deadline
from gateway.knowledge import documents
from gateway.knowledge.embeddings import EmbeddingCache
from gateway.knowledge.library import Generation, Library
from gateway.model import bundle as bundles
from gateway.model.batcher import Limits
from gateway.model.engine import Engine
from gateway.rpc.service import CollectionDescription, Description, Gateway
from gateway.types import Answer, Evidence, Principal, Question


class Assembled:
    """The real gateway: one engine, one library, one cascade over both. See `rpc.service.Gateway`."""

    def __init__(self, engine: Engine, library: Library, default_collection: str) -> None:
        self.engine = engine
        self.library = library
        self.default_collection = default_collection
        self._cascade = Cascade(engine, library, engine.profile())
        self._loaded = time.time()

    def collections(self) -> Sequence[str]:
        return self.library.names()

    async def answer(self, question: Question, deadline: Deadline) -> Answer:
        answer = await self._cascade.answer(question, deadline)
        if answer.knowledge_version:
            return answer
        return replace(answer, knowledge_version=self.library.generation(question.collection).version)

    async def search(
        self, text: str, collection: str, principal: Principal, limit: int, deadline: Deadline
    ) -> Evidence:
        self.library.generation(collection)  # an unknown one costs no inference
        prediction = await self.engine.predict(text, deadline)
        return self.library.search(collection, prediction.embedding, principal, limit, EVIDENCE_DEPTH)

    def describe(self) -> Description:
        profile, bundle = self.engine.profile(), self.engine.bundle
        return Description(
            bundle=profile.bundle,
            bundle_sha256=bundle.encoder_sha256(self.engine.precision),
            provider=self.engine.provider,
            precision=self.engine.precision,
            threshold=profile.thresholds.answer,
            certificate=profile.certificate,
            loaded=self._loaded,
            collections=tuple(self._describe_collection(name) for name in self.library.names()),
        )

    def _describe_collection(self, name: str) -> CollectionDescription:
        now = self.library.generation(name)
        return CollectionDescription(name, len(now.documents), len(now.passages), now.version)

    async def close(self) -> None:
        await self.engine.stop()


async def build(config: Config) -> Gateway:
    """Load, verify, index and start. Raises errors.GatewayError, naming what is wrong."""
    engine = load_engine(config)
    library = load_library(engine, config.knowledge.collections, cache_folder())
    gateway = Assembled(engine, library, config.knowledge.default)
    engine.start()
    return gateway


def load_engine(config: Config) -> Engine:
    bundle = bundles.load(config.model.bundle)
    asked = config.model.precision
    precision = None if asked is Precision.AUTO else cast(bundles.Precision, asked.value)  # the same names
    limits = Limits(tokens=config.model.max_batch_tokens)
    return Engine(bundle, config.model.device.value, config.model.threads or 1, limits, precision)


def load_library(engine: Engine, collections: dict[str, Path], cache: Path) -> Library:
    """Every collection read from its folder and embedded by the engine; `cache` remembers embeddings."""
    bundle = engine.bundle
    encoder = bundle.encoder_sha256(engine.precision)
    built = {}
    for name, folder in collections.items():
        embed = EmbeddingCache(engine.embed, f"{name} {encoder}", bundle.manifest.dim, cache)
        built[name] = Generation.build(documents.read_folder(folder), embed)
    return Library(built)


def cache_folder() -> Path:
    """Where what can be made again is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade-gateway"
