"""A folder of versions in the place of a bundle: the promoted one serves, and stays until somebody swaps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway import assembly
from gateway.cli import doctor
from gateway.cli.checks import Level
from gateway.config import Config, KnowledgeSection, ModelSection
from gateway.errors import BundleInvalid
from gateway.forge import lineage
from gateway.forge.recipes import load
from gateway.model import bundle as bundles
from gateway.model import versions
from gateway.registry import promotion
from gateway.workers.fleet import Fleet
from gateway.workers.pace import Pace
from tests import tiny
from tests.test_recipes import MINIMAL, written


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "tiny"
    for version in ("1", "2"):
        tiny.write(folder / version, version=version)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def promote(folder: Path, version: str) -> None:
    sha256 = versions.manifest_sha256(folder / version)
    promotion.record(folder, promotion.event("promote", version, sha256))


async def test_the_promoted_version_serves_until_it_is_swapped(folder: Path) -> None:
    promote(folder, "1")
    model = ModelSection(bundle=folder)
    gateway = await assembly.build(Config(model=model, knowledge=KnowledgeSection(collections={})))
    try:
        assert gateway.describe().bundle == "tiny/1"
        promote(folder, "2")
        assert gateway.describe().bundle == "tiny/1"
        assert (await gateway.swap(folder)).bundle == "tiny/2"
        # The way back is to the version that served, whatever the folder means by now.
        assert (await gateway.roll_back()).bundle == "tiny/1"
    finally:
        await gateway.close()


async def test_nothing_promoted_is_no_bundle(folder: Path) -> None:
    with pytest.raises(BundleInvalid, match="none is promoted"):
        await assembly.build(Config(model=ModelSection(bundle=folder)))


def test_workers_keep_the_version_that_they_were_started_with(folder: Path) -> None:
    promote(folder, "1")
    config = Config(model=ModelSection(bundle=folder))
    fleet = Fleet(config, folder, ("true",), Pace.of(config.server))
    promote(folder, "2")
    assert fleet.bundle == (folder / "1").resolve()


def test_the_doctor_looks_at_the_promoted_version(folder: Path) -> None:
    assert doctor.guarded("bundle", lambda: doctor.bundle(ModelSection(bundle=folder))).level is Level.FAIL
    promote(folder, "1")
    assert doctor.bundle(ModelSection(bundle=folder)).level is Level.OK


def test_a_recipe_s_parent_is_named_by_its_hash(folder: Path) -> None:
    text = MINIMAL.replace('name = "tiny"', 'name = "tiny"\nversion = "3"\nparent = "2"')
    found = lineage.parent(load(written(folder, text)))
    assert found is not None
    assert (found.name, found.version) == ("tiny", "2")
    assert found.manifest_sha256 == bundles.load(folder / "2").manifest_sha256


def test_a_recipe_without_a_parent_has_none(tmp_path: Path) -> None:
    assert lineage.parent(load(written(tmp_path))) is None


def test_a_parent_that_is_not_there_is_named(folder: Path) -> None:
    recipe = load(written(folder, MINIMAL.replace('name = "tiny"', 'name = "tiny"\nparent = "7"')))
    with pytest.raises(FileNotFoundError, match="names '7', which is not there"):
        lineage.parent(recipe)


def test_a_manifest_of_before_has_no_parent(folder: Path) -> None:
    assert bundles.load(folder / "1").manifest.parent is None
