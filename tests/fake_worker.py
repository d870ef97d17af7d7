"""A worker in miniature, run as a program: it reads its orders, and behaves as the file `behaviour` in a folder says.

That file holds one word for each start of each worker, in lines "<number> <word>" that are used up in order: `crash`
and `refuse` end at once, `hang` never becomes ready, `deaf` does not hear SIGTERM, `late` is not ready before there is
a file `go`. Workers without a line serve. `starts` gets a line for each start, `asked` one for each POST. What a POST
does is in the name of its folder, with the number of the worker that it is about: `refused-by-`, `fatal-to-`,
`left-by-` (which says that it drains) and `other-for-` (which finds other contents) when it loads, `refused-late-by-`
and `fatal-late-to-` when it switches; `slow` and `slow-for-` load once there is a file `go`.
`sha256` has the manifest's, if there is such a file, and `drift-<number>` what that worker has found of drift.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
ORDERS: dict[str, Any] = {}
COUNTED = 5
"""What each process says that it has counted."""


def behaviour(number: int) -> str:
    """The word for this start of that worker."""
    with (FOLDER / "starts").open("a") as starts:
        starts.write(f"{number} {ORDERS['config']['model']['bundle']}\n")
    before = sum(line.startswith(f"{number} ") for line in (FOLDER / "starts").read_text().splitlines()) - 1
    words = [
        line.split()[1] for line in (FOLDER / "behaviour").read_text().splitlines() if line.startswith(f"{number} ")
    ]
    return words[before] if before < len(words) else "serve"


class Answers(socketserver.StreamRequestHandler):
    """The admin endpoint of a worker, as far as a supervisor uses it."""

    is_ready = True

    def handle(self) -> None:
        while words := self.rfile.readline().split():
            length = 0
            while header := self.rfile.readline().strip().lower():
                if header.startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            body = self.rfile.read(length)
            path = words[1].decode()
            status, text = self.posted(path, body) if words[0] == b"POST" else self.got(path)
            head = f"HTTP/1.1 {status} .\r\nContent-Length: {len(text.encode())}\r\n\r\n"
            self.wfile.write((head + text).encode())

    def got(self, path: str) -> tuple[int, str]:
        if path == "/metrics":
            return 200, f"# TYPE seen counter\nseen_total {COUNTED}\n# EOF\n"
        if path == "/reading":
            counts, levels = {"decision/model/confident": COUNTED}, {"in_flight": 1, "max_in_flight": 4}
            return 200, json.dumps({"at": 0.0, "counts": counts, "levels": levels})
        if path == "/status":
            return 200, json.dumps(description() | {"ready": self.is_ready, "in_flight": 1, "max_in_flight": 4})
        return (200 if self.is_ready or path == "/livez" else 503), ""

    def posted(self, path: str, body: bytes) -> tuple[int, str]:
        asked = json.loads(body)
        with (FOLDER / "asked").open("a") as log:
            log.write(f"{ORDERS['number']} {path} {json.dumps(asked)}\n")
        folder, number = str(asked.get("folder", "")), ORDERS["number"]
        late = "late-" if path == "/bundle/switch" else ""
        if folder.endswith(f"refused-{late}by-{number}"):
            return 422, json.dumps({"error": "is not fit"})
        if folder.endswith(f"fatal-{late}to-{number}"):
            os._exit(9)
        if folder.endswith(f"left-by-{number}"):
            return 503, json.dumps({"error": "this server is ending"})
        while folder.endswith(("slow", f"slow-for-{number}")) and not (FOLDER / "go").exists():
            time.sleep(0.02)
        if path == "/bundle/switch":
            ORDERS["config"]["model"]["bundle"] = folder
        return 200, json.dumps(description(folder))


def description(bundle: str = "") -> dict[str, Any]:
    bundle = bundle or ORDERS["config"]["model"]["bundle"]
    file = FOLDER / "sha256"
    found = "1" if bundle.endswith(f"other-for-{ORDERS['number']}") else file.read_text() if file.exists() else "0"
    named = {"bundle": Path(bundle).name, "bundle_sha256": "0" * 64, "provider": "none", "precision": "int8"}
    if named["bundle"] == "lost":
        named |= {"degraded": "device_lost"}
    drift = FOLDER / f"drift-{ORDERS['number']}"
    return {
        **named,
        "drift": json.loads(drift.read_text()) if drift.exists() else None,
        "manifest_sha256": found * 64,
        "threshold": 0.5,
        "certificate": "valid",
        "loaded": 1.0,
        "collections": [],
    }


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        connection, _ = super().get_request()
        return connection, ("worker", 0)


def end_with_the_supervisor() -> None:
    while os.read(0, 4096):
        pass
    os._exit(7)


def main() -> None:
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        ORDERS.update(json.loads(pipe.readline()))
    word = behaviour(ORDERS["number"])
    if word == "crash":
        os._exit(1)
    if word == "refuse":
        sys.stderr.write("Error: the settings are wrong\n")
        os._exit(2)
    # Through os._exit: what is still being answered on other threads does not matter here.
    signal.signal(signal.SIGTERM, signal.SIG_IGN if word == "deaf" else lambda *_: os._exit(0))
    threading.Thread(target=end_with_the_supervisor, daemon=True).start()
    Answers.is_ready = word not in ("hang", "late")
    server = Server(ORDERS["socket"], Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        time.sleep(0.05)
        if word == "late" and (FOLDER / "go").exists():
            Answers.is_ready = True


if __name__ == "__main__":
    main()
