"""The settings of the knowledge base."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from gateway.config.section import Section
from gateway.config.shipped import shipped


class KnowledgeSection(Section):
    """Which collections are served."""

    collections: dict[str, Path] = Field(default_factory=lambda: {"banking": shipped("index/banking")})
    """Name -> folder of documents. Giving any replaces the default one. None ({}, an empty variable, --no-knowledge):
    nothing is searched, and only labels with a text of their own answer. The default one is served only with a bundle
    that has a label for one of its documents, so that nobody's bundle answers with our bank's articles by accident."""
    default_collection: str = ""
    """For requests that name none. Empty: the first of `collections`."""

    data: Path | None = None
    """Folder of stored collections, which are written by `Knowledge.Upsert` and kept; it is made if it is not there.
    None: nothing can be written."""
    keep_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] = 30.0
    """How long replaced and deleted versions of stored documents are kept, for citations of them and for who watches.
    Lowering it frees room on disk for what is written next; `gateway knowledge compact` makes the file smaller."""
    tenant_watchers: Annotated[int, Field(ge=0, le=100_000)] = 16
    """Streams of `Knowledge.Watch` that one tenant may have open, of each replica. 0: none."""

    backfill_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the time, what embedding stored documents for another bundle may take while this one serves. Raising it makes
    `gateway swap` ready sooner, and questions slower until then."""
    probe_every: Annotated[int, Field(ge=0)] = 1000
    """One of so many searches is compared with a scan of everything, in a thread that gives way: the metrics tell how
    much of the ten nearest documents is found. 0: none."""
    language: str = "english"
    """What documents and questions are written in, for the search by words: a language that Snowball stems, or none."""

    @field_validator("collections", mode="before")
    @classmethod
    def _none_by_an_empty_variable(cls, given: object) -> object:
        return {} if given == "" else given

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        for name in self.collections:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
                raise ValueError(f"collections.{name} is no name: 1 to 63 letters, digits, '.', '_' or '-'")
        return self

    @model_validator(mode="after")
    def _default_is_served(self) -> Self:
        if self.default_collection and self.default_collection not in self.collections:
            raise ValueError(
                f"default_collection is {self.default_collection!r}, which is none of {sorted(self.collections)}"
            )
        return self

    @property
    def is_default(self) -> bool:
        """Whether nobody said which collections to serve."""
        return "collections" not in self.model_fields_set

    @property
    def default(self) -> str:
        """The collection of requests that name none; empty where there is none."""
        return self.default_collection or next(iter(self.collections), "")
