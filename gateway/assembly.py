"""The one file that composes the whole: from settings to a gateway that answers."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gateway import doubts, drifting
from gateway.assembled import Assembled
from gateway.cascade.cache import AnswerCache
from gateway.cascade.standing import CertificateStanding
from gateway.config import Config, DriftMode, Fallback, KnowledgeSection, ModelSection, Precision, Uncertified
from gateway.errors import BundleInvalid
from gateway.knowledge import documents
from gateway.knowledge.backfill import Progress
from gateway.knowledge.base import KnowledgeBase
from gateway.knowledge.clearing import keep_clear
from gateway.knowledge.documents import PASSAGES_VERSION
from gateway.knowledge.embeddings import EmbeddingCache
from gateway.knowledge.encoder import Encoder
from gateway.knowledge.generation import Generation
from gateway.knowledge.lexical import LANGUAGE
from gateway.knowledge.library import Library
from gateway.knowledge.probe import Probe
from gateway.knowledge.store import Store
from gateway.model import arithmetic, versions
from gateway.model import bundle as bundles
from gateway.model.bundle import Bundle
from gateway.model.engine import Engine
from gateway.model.schedule import Limits
from gateway.model.session import Session
from gateway.rpc.validate import MAX_BATCH_ITEMS
from gateway.shadow import Observe
from gateway.swapping import Swapping, note_other

log = logging.getLogger(__name__)

PART = 64
"""Texts that are embedded before somebody may change their mind: less than a second, and nothing is lost by it, since
rows of several texts are filled from far fewer."""

DAY = 86_400.0


async def build(config: Config, observe: Observe = lambda _, __: None) -> Swapping:
    """Load, verify, index and start; `observe` hears of a shadow. Raises errors.GatewayError, naming what is wrong."""
    folder = versions.serving(config.model.bundle)  # once: another version may be promoted meanwhile
    config = config.model_copy(update={"model": config.model.model_copy(update={"bundle": folder})})
    store = Store(config.knowledge.data) if config.knowledge.data else None
    progress = Progress()
    try:
        gateway = assemble(config, store=store, progress=progress)
    except BaseException:
        if store is not None:
            store.close()
        raise
    gateway.start()
    if (heard := gateway.heard()) is not None:
        # The settings are followed: they are what somebody wants now. Records are made by swaps alone.
        note_other(gateway.describe().bundle, heard)

    def load(folder: Path, is_candidate: bool, go_on: Callable[[], None]) -> Assembled:
        model = config.model.model_copy(update={"bundle": folder})
        cascade = config.cascade.model_copy(update={"cached_answers": 0}) if is_candidate else config.cascade
        drift = config.drift.model_copy(update={"mode": DriftMode.OFF}) if is_candidate else config.drift
        changed = config.model_copy(update={"model": model, "cascade": cascade, "drift": drift})
        return assemble(changed, go_on, store, progress, config.knowledge.backfill_share)

    clearing = asyncio.create_task(keep_clear(store, config.knowledge.keep_days * DAY, time.time)) if store else None
    return Swapping(gateway, config.model.bundle, load, observe, config.model.threads <= 1, store, clearing)


def assemble(
    config: Config,
    go_on: Callable[[], None] = lambda: None,
    store: Store | None = None,
    progress: Progress | None = None,
    share: float | None = None,
) -> Assembled:
    """Load, verify and index, with `go_on` called between the steps. `progress` and `share`: see `KnowledgeBase`.
    Raises errors.GatewayError, naming what is wrong, and what `go_on` raises."""
    go_on()
    engine = load_engine(config)
    go_on()
    language = config.knowledge.language
    collections = served(config.knowledge, engine.bundle)
    probe = Probe(config.knowledge.probe_every)
    library = load_library(engine, collections, cache_folder(), language, go_on=go_on, probe=probe)
    spare_library = None
    if engine.spare:
        spare_library = load_library(engine, collections, cache_folder(), language, engine.spare, go_on)
    cache = AnswerCache(config.cascade.cached_answers) if config.cascade.cached_answers else None
    default = config.knowledge.default if collections else ""
    base = load_base(engine, store, library, spare_library, language, go_on, progress, share) if store else None
    monitoring, price = drifting.monitoring(config.drift), 1e3 * config.cascade.price_per_ms
    standing = CertificateStanding(doubts.of(config, engine.bundle.manifest_sha256))
    return Assembled(engine, library, default, cache, spare_library, base, probe, monitoring, price, standing)


def load_base(
    engine: Engine,
    store: Store,
    library: Library,
    spare_library: Library | None,
    language: str = LANGUAGE,
    go_on: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
    share: float | None = None,
) -> KnowledgeBase:
    """The stored collections, by the encoder of the session that answers first. Where that is lost, its spare searches
    what that one has embedded: their cosines are alike."""
    session = engine.session
    encoder = Encoder(
        f"{engine.bundle.encoder_sha256(session.precision)} {PASSAGES_VERSION}",
        engine.bundle.manifest.dim,
        lambda texts: engine.embed(texts, session),
        engine.embed_soon,
        engine.bundle.id,
    )
    libraries = [library, spare_library] if spare_library else [library]
    base = KnowledgeBase(store, libraries, encoder, language, progress)
    base.load(go_on, share)
    return base


def load_engine(config: Config) -> Engine:
    bundle = versions.load(config.model.bundle, config.model.trusted_keys)
    if bundle.uncertified:
        if config.model.uncertified is Uncertified.REFUSE:
            raise BundleInvalid(f'{bundle.uncertified}; or serve it without a promise: model.uncertified = "serve"')
        log.warning("%s; it is served without a promise", bundle.uncertified)
    # What admission lets in always finds room: a batch wider than its limit counts as the limit, so one more may come.
    limits = Limits(tokens=config.model.max_batch_tokens, waiting=config.server.max_in_flight + MAX_BATCH_ITEMS)
    model = config.model
    has_spare = model.fallback is Fallback.CPU
    engine = Engine(bundle, model.device.value, model.threads or 1, limits, precision_of(model), has_spare)
    if engine.precision == "int8" and not arithmetic.products_are_exact():
        log.warning("%s: %s", arithmetic.WARNING, arithmetic.FIX)
    return engine


def precision_of(model: ModelSection) -> bundles.Precision | None:
    """None leaves it to the device."""
    return None if model.precision is Precision.AUTO else cast(bundles.Precision, model.precision.value)


def served(knowledge: KnowledgeSection, bundle: Bundle) -> dict[str, Path]:
    """The collections to serve: those that are configured, and the default ones only if the bundle knows them.

    A bundle that was made from other data must not answer with our bank's articles because nobody said otherwise. So
    the default collection is left out, with a note in the log, unless some label stands for one of its documents.
    """
    if not knowledge.is_default:
        return knowledge.collections
    wanted = {label.document_id for label in bundle.manifest.labels if label.document_id}
    known = {
        name: folder
        for name, folder in knowledge.collections.items()
        if wanted and not wanted.isdisjoint(document.id for document in documents.read_folder(folder))
    }
    if not known:
        log.warning(
            "%s is served without a knowledge base: no label of it stands for a document of the default collection. "
            "Name its own with [knowledge.collections], or say --no-knowledge",
            bundle.id,
        )
    return known


def load_library(
    engine: Engine,
    collections: dict[str, Path],
    cache: Path,
    language: str = LANGUAGE,
    session: Session | None = None,
    go_on: Callable[[], None] = lambda: None,
    probe: Probe | None = None,
) -> Library:
    """Every collection read from its folder and embedded by the engine, by one of its sessions, the first if None.

    `cache` remembers embeddings, and `go_on` is called before each PART of the texts.
    """
    bundle, session = engine.bundle, session or engine.session
    encoder = bundle.encoder_sha256(session.precision)

    def embedded(texts: Sequence[str]) -> NDArray[np.float32]:
        parts = []
        for at in range(0, len(texts), PART):
            go_on()
            parts.append(engine.embed(texts[at : at + PART], session))
        return np.concatenate(parts)

    built = {}
    for name, folder in collections.items():
        # The folder too: two collections of one name must not drop each other's texts.
        embed = EmbeddingCache(embedded, f"{name} {folder.resolve()} {encoder}", bundle.manifest.dim, cache)
        built[name] = Generation.build(documents.read_folder(folder), embed, language=language)
    return Library(built, language, probe=probe)


def cache_folder() -> Path:
    """Where what can be made again is kept; below the folder for temporary files where there is no home."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "cascade-gateway"
    try:
        return Path.home() / ".cache" / "cascade-gateway"
    except RuntimeError:  # a user id without an entry in passwd, as containers have them
        return Path(tempfile.gettempdir()) / f"cascade-gateway-{os.getuid()}"
