"""The stored collections as a caller can reach them, for the methods that write and read them; and what they check."""

from __future__ import annotations

import re

from gateway.errors import InvalidQuestion, UnknownCollection
from gateway.rpc.service import Edited
from gateway.rpc.validate import NAME

SERVICE = "gateway.v1.Knowledge"
MAX_ID = 128
MAX_VERSION = 2**63 - 1
_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ID - 1}}}")


class Reach:
    """Of the collections in `edited`; None where the server stores none."""

    def __init__(self, edited: Edited | None) -> None:
        self.edited = edited

    async def collection(self, tenant: str, name: str) -> Edited:
        """With all that others have written by now. Raises UnknownCollection unless that one is there."""
        edited = await self.current()
        self.check(tenant, name)
        return edited

    async def current(self) -> Edited:
        """As `collection`, of no certain one."""
        edited = self.there()
        await edited.follow()
        return edited

    def there(self) -> Edited:
        """Raises UnknownCollection where there are none."""
        if self.edited is None:
            raise UnknownCollection("this server stores no collections: it needs a folder for them, knowledge.data")
        return self.edited

    def check(self, tenant: str, name: str) -> None:
        """Raises UnknownCollection."""
        if not self.there().stored(tenant, name):
            raise UnknownCollection(
                f"no stored collection {name!r} here" if NAME.fullmatch(name) else "no such collection here"
            )


def check_id(field: str, document_id: str) -> None:
    """Raises InvalidQuestion."""
    if not _ID.fullmatch(document_id):
        raise InvalidQuestion(field, f"must be 1 to {MAX_ID} letters, digits, '.', '_' or '-'")
