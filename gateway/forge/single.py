"""`gateway forge export`: the student of a finished run as one ordinary ONNX file, for other servers."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from rich.console import Console
from safetensors.torch import load_file

from gateway.forge import bases, choose, data, graph, knowledge
from gateway.forge.encoder import from_base
from gateway.forge.graph import Layout, Precision
from gateway.forge.recipes import Recipe
from gateway.forge.run import Forge, merged


def export(
    recipe: Recipe, work: Path, cache: Path, path: Path, precision: Precision, layout: Layout, console: Console
) -> None:
    """Write the chosen student of a finished run as one graph. FileNotFoundError if the run has not got that far.

    Says so where the run was made from another recipe, data or code than they are now.
    """
    measured = {layers: work / f"measure-{layers}" / "measured.json" for layers in recipe.student.layers}
    missing = [str(file) for file in measured.values() if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"no finished run in {work} ({missing[0]} is not there): gateway forge run first")
    layers = choose.best({layers: json.loads(file.read_text()) for layers, file in measured.items()})
    _say_changes(recipe, work, cache, layers, console)
    weights = load_file(work / f"student-{layers}" / "student.safetensors")
    student = from_base(bases.find(recipe.student_base, cache, recipe.locate), layers, len(weights["answer.bias"]))
    student.load_state_dict(weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph.build(student.shape, merged(student), precision, layout), path)


def _say_changes(recipe: Recipe, work: Path, cache: Path, layers: int, console: Console) -> None:
    try:
        seen = data.load(recipe)
        changed = Forge(recipe, seen, knowledge.of(recipe, seen), work, console, cache).changed(layers)
    except (FileNotFoundError, ValueError) as error:
        console.print(f"[yellow]warning:[/] not compared with the recipe as it is now: {error}", highlight=False)
        return
    if changed:
        console.print(
            f"[yellow]warning:[/] {work} was made from another recipe, data or code than they are now "
            f"({', '.join(changed)}); this is the student of that run",
            highlight=False,
        )
