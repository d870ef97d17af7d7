"""A cache of passage embeddings on disk, so that a restart embeds only what is new.

It is a cache and no more: a file that is missing, torn, of another width or from another encoder is made anew. It holds
vectors by the hash of the text that they stand for, and is read by numpy with pickling off.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.knowledge.segment import Embed

log = logging.getLogger(__name__)
Matrix = NDArray[np.float32]
DIGEST = 32


class EmbeddingCache:
    """Wraps an encoder. `identity` says which encoder and which collection: each pair has a file of its own, which
    holds that collection's texts alone. Used once, by the thread that builds, with all texts at once."""

    def __init__(self, embed: Embed, identity: str, dim: int, folder: Path) -> None:
        self._embed = embed
        self._dim = dim
        self._path = folder / f"embeddings-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"
        self._known: dict[bytes, Matrix] | None = None

    def __call__(self, texts: Sequence[str]) -> Matrix:
        """Unit embeddings [texts, dim], from the cache where they are in it. Whatever is not asked for is forgotten."""
        if self._known is None:
            self._known = self._read()
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        missing = [at for at, key in enumerate(keys) if key not in self._known]
        if missing:
            fresh = self._embed([texts[at] for at in missing])
            self._known |= {keys[at]: vector for at, vector in zip(missing, fresh, strict=True)}
        if len(set(keys)) < len(self._known) or missing:
            self._known = {key: self._known[key] for key in keys}
            self._write()
        return np.stack([self._known[key] for key in keys])

    def _read(self) -> dict[bytes, Matrix]:
        try:
            content = self._path.read_bytes()
            digest, body = content[:DIGEST], content[DIGEST:]
            if hashlib.sha256(body).digest() != digest:
                raise ValueError("its checksum is wrong")
            with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
                keys, vectors = arrays["keys"], arrays["vectors"]
            if vectors.shape != (len(keys), self._dim) or vectors.dtype != np.float32:
                raise ValueError(f"its vectors are {vectors.dtype} {list(vectors.shape)}")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError) as error:
            log.warning("%s is not used and made anew: %s", self._path, error)
            return {}
        return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}

    def _write(self) -> None:
        """Whole or not at all; a full disk costs the next start some seconds and nothing else."""
        assert self._known is not None
        buffer = io.BytesIO()
        keys = np.frombuffer(b"".join(self._known), np.uint8).reshape(-1, DIGEST)
        np.savez(buffer, keys=keys, vectors=np.stack(list(self._known.values())))
        body = buffer.getvalue()
        temporary = ""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._path.parent, delete=False) as file:
                temporary = file.name
                file.write(hashlib.sha256(body).digest() + body)
            Path(temporary).replace(self._path)
        except OSError as error:
            log.warning("%s could not be written, so the next start embeds again: %s", self._path, error)
            if temporary:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
