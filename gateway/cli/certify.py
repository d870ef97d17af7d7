"""`gateway certify`: a bundle's certificate, given anew from what lies in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from gateway.cli import promoted
from gateway.config import Config, ModelSection, Precision, Uncertified
from gateway.errors import ConfigInvalid
from gateway.forge import certificates, folders, outcomes
from gateway.forge.certify import Asked
from gateway.forge.outcomes import Outcomes
from gateway.model import bundle as bundles
from gateway.model import versions
from gateway.model.bundle import Bundle
from gateway.model.bundle import Precision as Variant
from gateway.model.certificate import Certificate, Confidence
from gateway.telemetry.drift import reference as references

SHARE = click.FloatRange(0, 1, max_open=True)
OPEN_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@click.option("--alpha", type=OPEN_SHARE, help="What may be wrong of the model's answers.  [the recipe's risk]")
@click.option("--delta", type=OPEN_SHARE, help="How likely it may be that more is.  [1 - the recipe's assurance]")
@click.option("--oos-share", type=SHARE, help="What share may be out of scope.  [the recipe's]")
@click.option("--ask-again", is_flag=True, help="Ask the bundle the recipe's questions first; see GATEWAY_DATA.")
@click.option("--exact", is_flag=True, help="With --ask-again: as CPUs answer whose 8-bit products do not saturate.")
@click.option("--dry-run", is_flag=True, help="Show it, and change nothing.")
@click.option("--json", "is_json", is_flag=True, help="Print the certificate.")
def certify(
    bundle: Path | None,
    alpha: float | None,
    delta: float | None,
    oos_share: float | None,
    ask_again: bool,
    exact: bool,
    dry_run: bool,
    is_json: bool,
) -> None:
    """Certify BUNDLE, or the promoted one in a folder of versions  [models/banking/1], from its outcomes: what it made
    of the questions that were set aside for that.

    Thresholds are tried in their fixed order, and the loosest that holds is taken. Asking for several and keeping the
    one that pleases is no certificate. With --ask-again the outcomes are made anew, which takes minutes: after a change
    of the graph, the tokenizer or the calibration. What serves takes the new certificate with `gateway swap`.
    """
    if exact and not ask_again:
        raise click.UsageError("--exact says how the bundle is asked: it goes with --ask-again")
    folder = versions.serving(bundle or Config().model.bundle)
    loaded = bundles.load(folder)
    asked = _asked(loaded, alpha, delta, oos_share)
    scratch = Path(tempfile.mkdtemp()) if dry_run else folders.scratch(folder)  # to look, nobody needs to write there
    try:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        try:
            found = _again(loaded, exact) if ask_again else _kept(loaded)
        except (FileNotFoundError, ValueError) as error:
            raise ConfigInvalid(str(error)) from None
        for precision, one in found.items():
            outcomes.write(scratch / bundles.outcomes_name(precision), one)
        given = certificates.put(scratch, loaded.manifest, found, asked)
        if not dry_run:
            bundles.load(scratch)
            scratch.chmod(folder.stat().st_mode)
            folders.put(scratch, folder)
            promoted.warn(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    compared = {references.file_name(one) for one in found} & loaded.manifest.files.keys()
    if compared and _has_other_thresholds(loaded, given):
        click.echo(
            "thresholds have changed, and routes with them: what serving compares its routes with is made anew by "
            f"gateway forge reference {folder}",
            err=True,
        )
    if is_json:
        click.echo(given.model_dump_json(indent=1))
    else:
        show(given, Console())


def _asked(loaded: Bundle, alpha: float | None, delta: float | None, oos_share: float | None) -> Asked:
    """What the recipe asks for, where the command does not. ConfigInvalid for what no recipe says."""
    recipe = loaded.manifest.recipe.get("confidence", {})
    risk = alpha if alpha is not None else recipe.get("risk", 0.05)
    assurance = 1 - delta if delta is not None else recipe.get("assurance", 0.95)
    return Asked(risk, assurance, oos_share if oos_share is not None else recipe.get("oos_share", 0.1))


def _has_other_thresholds(loaded: Bundle, given: Certificate) -> bool:
    before = loaded.certificate.variants if loaded.certificate else {}
    return any(name not in before or one.thresholds != before[name].thresholds for name, one in given.variants.items())


def _kept(loaded: Bundle) -> dict[Variant, Outcomes]:
    """Those that lie in the bundle."""
    return {one: outcomes.read(loaded.path(bundles.outcomes_name(one))) for one in loaded.manifest.variants}


def _again(loaded: Bundle, is_exact: bool) -> dict[Variant, Outcomes]:
    """Those that its graphs give now."""
    from gateway import assembly
    from gateway.forge import asking, data, knowledge, lineage
    from gateway.forge.asking import Run
    from gateway.model.packing import Tokenization

    def runner(precision: Variant) -> Run:
        if is_exact and precision == "int8":
            from gateway.forge import exact  # takes the package onnx

            tokenization = Tokenization(loaded.path(bundles.TOKENIZER), loaded.manifest.max_tokens)
            return exact.runner(loaded.path(loaded.variant(precision).graph), tokenization)
        model = ModelSection(bundle=loaded.folder, precision=Precision(precision), uncertified=Uncertified.SERVE)
        return assembly.load_engine(Config(model=model)).outputs

    recipe = lineage.recipe_of(loaded)
    seen = data.load(recipe)
    lineage.check_made_of(loaded, seen)
    known = knowledge.of(recipe, seen)
    return {one: asking.again(runner(one), loaded, one, seen, known) for one in loaded.manifest.variants}


def show(given: Certificate, console: Console) -> None:
    """As tables."""
    console.print(
        f"With probability {given.assurance:.1%} at most {given.risk:.1%} of the model's answers are wrong, up to the "
        f"share out of scope (OOS) in the table. Shown by {given.questions} questions and {given.outliers} outliers.",
        soft_wrap=True,
        highlight=False,
    )
    rows = {
        f"{precision} {name}": one
        for precision, some in given.variants.items()
        for name, one in some.confidences.items()
    }
    table = _table("", "status", "from", "answers", "wrong", "risk <=", "OOS <=", "stale")
    for name, one in rows.items():
        table.add_row(name, *_cells(one))
    console.print(table)
    for name, one in rows.items():
        if not one.operating.holds:
            needed = f"about {one.needed} questions" if one.needed else "a better model: no number of questions"
            console.print(f"{name}: nothing could be certified. It would take {needed}.", highlight=False)
    _show_shares(rows, console)
    _show_groups(rows, console)


def _table(*columns: str) -> Table:
    """One that fits into 80 columns."""
    first, *others = columns
    return Table(Column(first, no_wrap=True), *others, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def _cells(one: Confidence) -> tuple[str, ...]:
    at, stale = one.operating, one.back_off
    if not at.holds:
        return (one.status.value,)
    return (
        one.status.value,
        f"{at.value:.3f}",
        str(at.accepted),
        str(at.wrong),
        f"{at.upper_bound:.2%}",
        f"{at.certified_up_to_oos_share:.1%}",
        f"{stale.value:.3f} ({stale.risk:.1%})",
    )


def _show_shares(rows: Mapping[str, Confidence], console: Console) -> None:
    if shares := [share for one in rows.values() for share, _ in one.risk_by_oos_share]:
        table = _table("risk <=, at OOS", *(f"{share:.0%}" for share in dict.fromkeys(shares)))
        for name, one in rows.items():
            table.add_row(name, *(f"{bound:.2%}" for _, bound in one.risk_by_oos_share))
        console.print(table)


def _show_groups(rows: Mapping[str, Confidence], console: Console) -> None:
    if not any(one.groups for one in rows.values()):
        return
    table = _table("group of labels", "", "", "answers", "wrong", "risk <=", "OOS <=")
    for name, one in rows.items():
        for group, found in one.groups.items():
            own = "its own" if found.is_certified else "pooled"
            share = f"{found.certified_up_to_oos_share:.1%}" if found.is_certified else ""
            table.add_row(group, name, own, str(found.accepted), str(found.wrong), f"{found.upper_bound:.2%}", share)
        table.add_section()
    console.print(table)
