"""Files that somebody may have changed: each is read, or refused by the error that names it."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gateway import config
from gateway.access import keys
from gateway.audit import reading as audit
from gateway.audit import segments, verifying
from gateway.audit.chain import Bounds, Chain
from gateway.audit.records import Kind
from gateway.errors import BundleInvalid, ConfigInvalid, DocumentInvalid
from gateway.knowledge import documents
from gateway.knowledge.reading import files
from gateway.model import bundle, certificate, versions
from tests import tiny
from tests.fuzz.mutation import TEXTS

ARTICLE = (
    "---\nid: a\ntitle: Title\nuri: u\nupdated: 2026-01-01\nanswer: It is a.\ngroups: [staff]\n---\n# Head\n\nBody.\n"
)
KEYS = {
    "version": 1,
    "callers": [
        {
            "id": "k1",
            "name": "shop",
            "sha256": "0" * 64,
            "scopes": ["ask"],
            "tenants": ["acme"],
            "created": "2026-01-01T00:00:00Z",
            "expires": "2030-01-01T00:00:00Z",
        }
    ],
}
TOML = '[server]\nport = 50051\n[knowledge]\ncollections = { banking = "index/banking" }\n[drift]\nmode = "act"\n'
HTML = "<html><head><title>T</title></head><body><h1>H</h1><p>a <b>b</b> &amp; c</p><ul><li>d<li>e</ul></body></html>"
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>endobj\n"
    b"4 0 obj<</Length 30>>stream\nBT /F1 12 Tf (word1 word2) Tj ET\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
)
JSONL = '{"id": "a", "title": "T", "text": "Body.", "groups": ["staff"]}\n{"question": "Q?", "answer": "A."}\n'
CSV = 'id,title,text\na,T,Body.\nb,U,"More, of it."\n'
Read = Callable[[bytes], object]


class Files:
    """`corpus` gives the number of a kind and a sound file of it."""

    name = "files"

    def __init__(self) -> None:
        base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=base))
        self._bundle = tiny.write(self._folder / "models" / "tiny" / "1")
        self._records = self._audited()
        self._kinds: list[tuple[str, bytes, Read, tuple[type[Exception], ...]]] = [
            self._of_bundle("manifest.json", lambda folder: bundle.load(folder)),
            self._of_bundle("certificate.json", certificate.read),
            self._of_bundle("tokenizer.json", lambda folder: bundle.load(folder)),
            ("registry.json", self._registry(), self._in("registry.json", versions.read), (BundleInvalid,)),
            ("keys", json.dumps(KEYS).encode(), self._in("keys.json", keys.callers_in, is_file=True), (ConfigInvalid,)),
            ("settings", TOML.encode(), self._in("gateway.toml", config.load, is_file=True), (ConfigInvalid,)),
            ("article", ARTICLE.encode(), self._in("a.md", documents.read, is_file=True), (DocumentInvalid,)),
            *(
                (suffix, given, self._in(f"x{suffix}", lambda path: list(files.Reading([path])), is_file=True), ())
                for suffix, given in (
                    (".md", ARTICLE.encode()),
                    (".txt", b"Title\n\nBody.\n"),
                    (".html", HTML.encode()),
                    (".pdf", PDF),
                    (".jsonl", JSONL.encode()),
                    (".csv", CSV.encode()),
                    (".csv.gz", CSV.encode()),
                )
            ),
            ("audit", self._records.read_bytes(), self._audit, (ValueError,)),
        ]

    def corpus(self, chance: random.Random) -> bytes:
        at = chance.randrange(len(self._kinds))
        sound = self._kinds[at][1]
        if chance.random() < 0.2:
            text = chance.choice(TEXTS).encode()
            sound = sound.replace(chance.choice((b"a", b"T", b"1", b'"', b":")), text, 1)
        return bytes([at]) + sound

    def run(self, data: bytes) -> str:
        name, _, read, expected = self._kinds[(data[:1] or b"\0")[0] % len(self._kinds)]
        try:
            read(data[1:])
        except expected as error:
            return f"{name} refused: {type(error).__name__}"
        return f"{name} read"

    def close(self) -> None:
        shutil.rmtree(self._folder)

    def _of_bundle(
        self, name: str, read: Callable[[Path], object]
    ) -> tuple[str, bytes, Read, tuple[type[Exception], ...]]:
        """A file of the bundle, in its place: put back by the next one that is not changed."""
        path = self._bundle / name
        sound = path.read_bytes()

        def take(data: bytes) -> object:
            path.write_bytes(data)
            try:
                return read(self._bundle)
            finally:
                path.write_bytes(sound)

        return name, sound, take, (BundleInvalid,)

    def _in(self, name: str, read: Callable[[Path], object], is_file: bool = False) -> Read:
        folder = self._folder / "files"
        folder.mkdir(exist_ok=True)

        def take(data: bytes) -> object:
            (folder / name).write_bytes(data)
            try:
                return read(folder / name if is_file else folder)
            finally:
                (folder / name).unlink()

        return take

    def _registry(self) -> bytes:
        event = {
            "at": "2026-01-01T00:00:00+00:00",
            "action": "promote",
            "version": "1",
            "manifest_sha256": "0" * 64,
            "by": "a@b",
        }
        return json.dumps({"format": 1, "current": "1", "history": [event]}).encode()

    def _audited(self) -> Path:
        """A segment of an audit log."""
        folder = self._folder / "audit" / "0"
        chain = Chain(folder, Bounds())
        for number in range(4):
            entry = {"time": f"2026-01-01T00:00:0{number}.000000Z", "id": f"a{number}", "tenant": "acme"}
            chain.write([(Kind.ANSWER, entry, b"word1" if number % 2 else b"")])
        chain.close()
        return segments.segments(folder)[-1].path

    def _audit(self, data: bytes) -> object:
        self._records.write_bytes(data)
        found = list(audit.records(self._folder / "audit", audit.Wanted(), has_text=True))
        return found, verifying.verify(self._records.parent)
