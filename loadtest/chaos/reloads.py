"""Tests 17 and 18: what is given to a running gateway is broken, or new, and nobody who asks notices."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import trustme

from gateway.client import Tls
from loadtest.admin import AdminFailed
from loadtest.chaos.neighbours import neighbours
from loadtest.chaos.serving import BUNDLE, Served, served
from loadtest.chaos.verdicts import Terms, Verdict

NOTICED = 8.0
"""Seconds within which a changed file is read: it is looked at every second, and once more."""
Harm = Callable[[Path], object]


def _flipped(name: str, at: float = 0.5) -> Harm:
    def harm(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[int(at * len(content))] ^= 1
        (folder / name).write_bytes(content)

    return harm


def _cut(name: str) -> Harm:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def _manifest(**changed: object) -> Harm:
    def harm(folder: Path) -> None:
        told = json.loads((folder / "manifest.json").read_text())
        assert changed.keys() <= told.keys()
        (folder / "manifest.json").write_text(json.dumps(told | changed))

    return harm


HARMS: dict[str, Harm] = {
    "no folder": shutil.rmtree,
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a manifest that is no JSON": lambda folder: (folder / "manifest.json").write_text("{"),
    "a manifest of an unknown format": _manifest(format=99),
    "a manifest without files": _manifest(files={}),
    "no weights": lambda folder: (folder / "weights.bin").unlink(),
    "weights of which a bit is another": _flipped("weights.bin"),
    "weights by half": _cut("weights.bin"),
    "a graph of which a bit is another": _flipped("fp32.onnx"),
    "a tokenizer of which a bit is another": _flipped("tokenizer.json"),
    "an empty certificate": lambda folder: (folder / "certificate.json").write_bytes(b""),
}


async def broken(terms: Terms) -> Verdict:
    verdict = Verdict()
    before = json.loads((BUNDLE / "manifest.json").read_text())
    verdict.check({"format", "files"} <= before.keys(), "manifests are not what this test spoils any more")
    async with served(terms) as gateway:
        sha = (await gateway.status())["bundle_sha256"]
        async with neighbours(terms, gateway.target) as found:
            refused = 0
            for number, (name, harm) in enumerate(HARMS.items()):
                folder = terms.folder / f"bundle-{number}"
                await asyncio.to_thread(shutil.copytree, BUNDLE.resolve(), folder)
                harm(folder)
                said = await _swapped(gateway, folder)
                shutil.rmtree(folder, ignore_errors=True)
                verdict.check(said is not None, f"a bundle with {name} was taken in")
                verdict.check(said is None or "Traceback" not in said, f"{name}: {said}")
                refused += said is not None
            verdict.check((await gateway.status())["bundle_sha256"] == sha, "another bundle serves")
            good = await _swapped(gateway, BUNDLE)
            verdict.check(good is None, f"a sound bundle was refused: {good}")
        verdict.saw(f"{refused} of {len(HARMS)} broken bundles were refused, then a sound one taken in; {found.said()}")
        verdict.check(found.failed == 0, f"callers were refused: {dict(found.codes)}")
    return verdict


async def _swapped(gateway: Served, folder: Path) -> str | None:
    """Why it was refused."""
    try:
        await asyncio.to_thread(gateway.control.swap, folder)
    except AdminFailed as refused:
        return str(refused)
    return None


async def rotated(terms: Terms) -> Verdict:
    verdict = Verdict()
    authority = trustme.CA()
    files = {name: terms.folder / f"{name}.pem" for name in ("ca", "certificate", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    _put(authority.issue_cert("127.0.0.1", "localhost"), files)
    setting = {
        "GATEWAY_TLS__CERTIFICATE": str(files["certificate"]),
        "GATEWAY_TLS__KEY": str(files["key"]),
    }
    async with served(terms, environment=setting) as gateway:
        async with neighbours(terms, gateway.target, tls=Tls(root=files["ca"])) as found:
            first = await _serial(gateway)
            for number in range(terms.of(1, 10)):
                _put(authority.issue_cert("127.0.0.1", "localhost"), files)
                seconds = await _changed(gateway, first)
                verdict.check(
                    seconds < NOTICED, f"rotation {number}: the old certificate is shown after {seconds:.0f} s"
                )
                first = await _serial(gateway)
            verdict.saw(f"{number + 1} rotations, the last seen after {seconds:.1f} s")
            for name in ("a key of another certificate", "no PEM", "no key"):
                rejected = await _rejected(gateway)
                _spoil(name, files, authority)
                for _ in range(int(NOTICED / 0.2)):
                    if await _rejected(gateway) > rejected:
                        break
                    await asyncio.sleep(0.2)
                verdict.check(await _rejected(gateway) > rejected, f"{name}: no reload was counted as rejected")
                verdict.check(await _serial(gateway) == first, f"{name}: another certificate is shown")
        verdict.saw(found.said())
        verdict.check(found.failed == 0, f"callers were refused: {dict(found.codes)}")
    return verdict


def _put(issued: trustme.LeafCert, files: dict[str, Path]) -> None:
    files["certificate"].write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files["key"])


def _spoil(name: str, files: dict[str, Path], authority: trustme.CA) -> None:
    if name == "no PEM":
        files["certificate"].write_text("nothing")
    elif name == "no key":
        files["key"].unlink()
    else:
        authority.issue_cert("elsewhere").private_key_pem.write_to_path(files["key"])


async def _serial(gateway: Served) -> str:
    """The certificate that a new connection is shown."""
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", gateway.port), timeout=10.0)


async def _changed(gateway: Served, first: str) -> float:
    began = asyncio.get_running_loop().time()
    while await _serial(gateway) == first:
        await asyncio.sleep(0.2)
        if asyncio.get_running_loop().time() - began > NOTICED:
            break
    return asyncio.get_running_loop().time() - began


async def _rejected(gateway: Served) -> float:
    return (await gateway.counted()).total("gateway_reloads_total", outcome="rejected")
