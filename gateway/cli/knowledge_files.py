"""`gateway knowledge verify`, `mend`, `snapshot`, `restore` and `compact`: the folder of stored collections itself.

A file holds the documents of all tenants, whoever may read them. So these are acts of who has the disk, and no calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from gateway.cli.main import Failure
from gateway.knowledge import snapshots, verifying
from gateway.knowledge.file import FILE
from gateway.knowledge.store import Store

DAY = 86_400.0
FOLDER = click.Path(path_type=Path, file_okay=False)

data_option = click.option("--data", required=True, type=FOLDER, metavar="DIR", help="The folder: knowledge.data.")


@click.command()
@data_option
def verify(data: Path) -> None:
    """Check everything that is stored in DIR, beside a gateway that runs on it or without one.

    The file itself; the checksum of each row; that the log has no gaps, and comes to the documents that there are, each
    at one version; that what was embedded has a vector of unit length for each passage and its title. What is wrong is
    printed; the exit code is then 1.
    """
    count = 0
    with _opened(data) as store, _bar("verify") as progress:
        for wrong in verifying.verify(store, progress):
            click.echo(wrong)
            count += 1
        last = store.last()
    if count:
        raise Failure(
            f"{data}: {count} faults; keep a copy of DIR, and restore the last snapshot elsewhere, or mend it"
        )
    click.echo(f"all is well up to version {last}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@data_option
def snapshot(file: Path, data: Path) -> None:
    """Copy everything that is stored in DIR into FILE, beside a gateway that runs on it, which goes on writing.

    FILE is of one moment, is on disk, and was checked when it is called so. FILE.json says what it is. It holds the
    documents of all tenants, whoever may read them: keep it as you keep DIR.
    """
    with _opened(data) as store, _bar("snapshot") as progress:
        taken = snapshots.snapshot(store, file, progress)
    click.echo(f"{file}: everything up to version {taken.last}, sha256 {taken.sha256}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@data_option
def restore(file: Path, data: Path) -> None:
    """Put the snapshot FILE into DIR, which must hold none: a store is not replaced under those who read it.

    FILE must be what its FILE.json says, and sound. Start the gateway on DIR afterwards. What was written after the
    snapshot is lost, and versions are given again: who kept one of those must begin anew.
    """
    with _bar("restore") as progress:
        taken = snapshots.restore(file, data, progress)
    click.echo(f"{data}: everything up to version {taken.last}, as of {taken.taken}")


@click.command()
@data_option
@click.option(
    "--keep-days", type=click.FloatRange(min=0), default=30.0, show_default=True, help="What is younger is kept."
)
@click.option("--keep-vectors", is_flag=True, help="Those of bundles that were left behind, too.")
def compact(data: Path, keep_days: float, keep_vectors: bool) -> None:
    """Clear what was superseded in DIR long ago, and make its file as small as what it holds.

    Vectors are deleted too, of encoders that nobody goes back to: all but the last two that the log was switched to,
    and those that embedded the newest document. Where no bundle was ever swapped for one with another encoder, all
    stay. A bundle whose vectors were deleted can be served again: it embeds what is stored once more.

    Only where no gateway runs on DIR, and none starts meanwhile. It takes as much room again while it works.
    """
    with _opened(data, is_alone=True) as store, Console(stderr=True).status("compact"):
        before = store.path.stat().st_size
        cleared = store.clear(time.time() - keep_days * DAY)
        left = store.compact(keep_vectors)
        after = store.path.stat().st_size
    for encoder, documents in left.items():
        click.echo(f"vectors of {documents:,} documents deleted, by {encoder}: nobody goes back to that encoder")
    click.echo(f"{cleared} superseded versions cleared; {before:,} bytes before, {after:,} now")


@click.command()
@data_option
@click.option("--dry-run", is_flag=True, help="Say what would be lost, and change nothing.")
def mend(data: Path, dry_run: bool) -> None:
    """Go on without what is damaged in DIR, where there is no snapshot to restore.

    Documents that are damaged, or not there any more, are deleted, and each is named; what can be made again is made
    again. The log of changes must be whole. Only where no gateway runs on DIR; keep a copy of it first.
    """
    with _opened(data, is_alone=True) as store:
        for one in (done := store.mend(is_tried=dry_run)):
            click.echo(one)
        left = [] if dry_run else list(verifying.verify(store, lambda done, of: None))
    if left:
        raise Failure(f"{data}: {len(left)} faults are left, such as: {left[0]}; restore the last snapshot elsewhere")
    if done:
        click.echo("nothing was changed yet" if dry_run else "mended: the rest can be served")
    else:
        click.echo("nothing is damaged")


@contextmanager
def _opened(data: Path, is_alone: bool = False) -> Iterator[Store]:
    if not (data / FILE).exists():  # to open one would begin it
        raise Failure(f"{data}: holds no stored collections: there is no {FILE} in it")
    store = Store(data, is_alone=is_alone)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; call it with what is done, and of how much."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
