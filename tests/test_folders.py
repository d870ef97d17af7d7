"""Folders: nothing but a bundle is ever replaced, and two runs do not work in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.forge import folders


def filled(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("names", [None, (), ("manifest.json", "weights.bin")])
def test_a_bundle_may_go_where_nothing_or_a_bundle_is(tmp_path: Path, names: tuple[str, ...] | None) -> None:
    out = tmp_path / "models" / "mine" / "1"
    if names is not None:
        filled(out, *names)
    folders.check_out(out)
    assert [one.name for one in out.parent.iterdir()] == ([] if names is None else ["1"])


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no manifest\.json"):
        folders.check_out(filled(tmp_path / "thesis", "chapter.tex"))


@pytest.mark.parametrize("link", [False, True])
def test_what_is_no_folder_is_refused(tmp_path: Path, link: bool) -> None:
    target = filled(tmp_path / "real", "manifest.json")
    out = tmp_path / "out"
    if link:
        out.symlink_to(target)
    else:
        out.write_text("mine")
    with pytest.raises(ValueError, match="is not a folder"):
        folders.check_out(out)


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be written"):
        folders.check_out(tmp_path / "file" / "1")


def test_the_new_bundle_takes_the_place_of_the_old(tmp_path: Path) -> None:
    out = filled(tmp_path / "1", "manifest.json", "old.onnx")
    made = folders.scratch(out)
    (made / "manifest.json").write_text("new")
    folders.put(made, out)
    assert [one.name for one in tmp_path.iterdir()] == ["1"]
    assert [(one.name, one.read_text()) for one in out.iterdir()] == [("manifest.json", "new")]


def test_what_has_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "1"
    made = folders.scratch(out)
    filled(out, "notes.txt")
    with pytest.raises(ValueError, match="left alone"):
        folders.put(made, out)
    assert (out / "notes.txt").is_file()


def test_the_old_bundle_is_put_back_where_the_new_one_cannot_go(tmp_path: Path) -> None:
    out = filled(tmp_path / "1", "manifest.json")
    with pytest.raises(OSError, match="absent"):
        folders.put(tmp_path / "absent", out)
    assert (out / "manifest.json").is_file()


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with folders.locked(work), pytest.raises(ValueError, match="another run works in"), folders.locked(work):
        pass
    with folders.locked(work):
        pass


def test_unfinished_folders_are_ignored_by_git() -> None:
    ignored = (Path(__file__).parent.parent / ".gitignore").read_text().splitlines()
    assert f"{folders.PREFIX}*/" in ignored
