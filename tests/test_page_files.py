"""The page's sources, without a browser: small, plain, from nowhere else, and of one piece."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.rpc.page.files import FOLDER
from gateway.types import Criticality, Policy, Route

FILES = sorted(FOLDER.iterdir())
MODULES = [path for path in FILES if path.suffix == ".js"]
STYLES = [path for path in FILES if path.suffix == ".css"]
MARKUP = (FOLDER / "index.html").read_text(encoding="utf-8")
FORBIDDEN = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser")
"""What makes markup or code of a text."""


def texts(paths: list[Path]) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


class Elements(HTMLParser):
    """Every element with its attributes, and the texts in `option`s."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.options: dict[str, list[str]] = {}
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        if tag == "select":
            self._select = dict(attrs)["id"] or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        if self._select and data.strip():
            self.options.setdefault(self._select, []).append(data.strip())

    def attributes(self, name: str) -> list[str]:
        return [found for _, attributes in self.all if (found := attributes.get(name))]


@pytest.fixture
def elements() -> Elements:
    parser = Elements()
    parser.feed(MARKUP)
    return parser


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_small_and_its_lines_are_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 400 if path.suffix == ".css" else len(lines) < 300
    assert max(map(len, lines)) <= 120
    assert not any(line != line.rstrip() or "\t" in line for line in lines)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_says_what_it_is_and_makes_no_markup_of_text(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.startswith("// ")
    for word in FORBIDDEN:
        assert word not in source


def test_all_that_is_loaded_is_here(elements: Elements) -> None:
    loaded = [*elements.attributes("src"), *elements.attributes("href")]
    assert sorted(one for one in loaded if not one.startswith("#")) == sorted(
        f"/page/{path.name}" for path in FILES if path.suffix in (".css", ".svg") or path.name == "app.js"
    )
    names = {path.name for path in MODULES}
    imported = set(re.findall(r'from "\./([^"]+)"', texts(MODULES)))
    assert imported | {"app.js"} == names
    assert "://" not in texts(STYLES).replace("http://www.w3.org/2000/svg", "")


def test_the_markup_has_nothing_inline(elements: Elements) -> None:
    for tag, attributes in elements.all:
        assert not any(name == "style" or name.startswith("on") for name in attributes), tag
        assert tag != "style"
        assert tag != "script" or attributes.get("src")


def test_what_code_and_labels_name_is_in_the_markup(elements: Elements) -> None:
    ids = elements.attributes("id")
    assert len(ids) == len(set(ids))
    named = set(re.findall(r'byId\("([^"]+)"\)', texts(MODULES)))
    panels = re.search(r"PANELS = \{([^}]+)\}", texts(MODULES))
    assert panels
    named |= {name.strip() for name in panels[1].split(",")}
    for name in ("for", "aria-labelledby", "aria-controls", "aria-describedby", "list"):
        named |= set(elements.attributes(name))
    assert named <= set(ids), named - set(ids)


def test_every_field_has_a_label(elements: Elements) -> None:
    labelled = set(elements.attributes("for"))
    for tag, attributes in elements.all:
        if tag in ("textarea", "select") or (tag == "input" and attributes.get("type") != "radio"):
            assert attributes["id"] in labelled


def test_choices_are_those_of_the_api(elements: Elements) -> None:
    assert elements.options["policy"][1:] == [policy.value for policy in Policy]
    assert set(elements.options["criticality"]) == {one.value for one in Criticality}


def test_every_route_has_a_colour_and_every_colour_is_defined() -> None:
    styles = texts(STYLES)
    routes = re.search(r"ROUTES = \[([^\]]+)\]", texts(MODULES))
    assert routes
    assert {name.strip(' "') for name in routes[1].split(",")} == {route.value for route in Route}
    for route in Route:
        assert f".route-{route.value} {{" in styles
    set_by_code = {"route", "share", "at"}
    assert set(re.findall(r"var\(--([a-z]+)", styles)) <= set(re.findall(r"--([a-z]+):", styles)) | set_by_code
    light, _, dark = (FOLDER / "style.css").read_text(encoding="utf-8").partition("prefers-color-scheme: dark")
    both = set(re.findall(r"--([a-z]+):", light)) - {"mono", "alarm"}
    assert both == set(re.findall(r"--([a-z]+):", dark))
