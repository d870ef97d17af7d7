"""Reading questions: every format that the forge takes, and a clear word on every way to be wrong."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from gateway.forge.texts import Labelled, read, sha256


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_keeps_line_breaks_inside_quotes(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'text,category\r\n"First line\nand, second",fees\r\nPlain,card\r\n')
    assert read(path) == [Labelled("First line\nand, second", "fees"), Labelled("Plain", "card")]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_line_separator_of_unicode_ends_no_question(tmp_path: Path, name: str) -> None:
    content = {
        "a.csv": "text\none\u2028two\n",
        "a.jsonl": '{"text": "one\u2028two"}\n',
        "a.txt": "one\u2028two\n",
    }[name]
    assert [row.text for row in read(written(tmp_path, name, content))] == ["one\u2028two"]


def test_csv_needs_no_category(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a.csv", "id,text\n1,Hello\n")) == [Labelled("Hello", "")]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a.csv", "\ufefftext\nHello\n")) == [Labelled("Hello", "")]


def test_blank_questions_are_left_out(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a.txt", "\n  one  \r\n\n \ntwo")) == [Labelled("one", ""), Labelled("two", "")]


def test_jsonl_has_the_same_keys(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"text": "one", "category": "x"}\n\n{"text": "two"}\n')
    assert read(path) == [Labelled("one", "x"), Labelled("two", "")]


def test_json_is_read_by_split(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '{"train": [["one", "x"]], "oos": [["two", "oos"]]}')
    assert read(path, "oos") == [Labelled("two", "oos")]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.txt.gz"])
def test_gz_is_unpacked(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, gzip.compress(b"text\none\n" if "csv" in name else b"one\n"))
    assert read(path) == [Labelled("one", "")]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "question,category\nx,y\n", r"column 'text' \(columns: question, category\)"),
        ("a.csv", "", r"column 'text' \(columns: \)"),
        ("a.csv", "text,category\n", "holds no questions"),
        ("a.csv", 'text\n"never closed\n', "unexpected end of data"),
        ("a.txt", " \n\n", "holds no questions"),
        ("a.txt", b"one\ncaf\xe9\n", "line 2: the byte 0xE9 is not UTF-8"),
        ("a.json", '{"train": []}', r"split 'test' \(splits: train\)"),
        ("a.json", '{"test": [["only a text"]]}', "not readable as .json"),
        ("a.json", "[", "JSONDecodeError"),
        ("a.jsonl", '{"category": "x"}\n', "KeyError"),
        ("a.jsonl", '{"text": null}\n', "not readable as .jsonl"),
        ("a.txt.gz", b"not packed", "BadGzipFile"),
        ("a.txt.gz", gzip.compress(b"cut off in the middle")[:-6], "EOFError"),
    ],
)
def test_errors_name_the_file_and_what_it_lacks(tmp_path: Path, name: str, content: str | bytes, problem: str) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=problem) as caught:
        read(path, "test")
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*absent\.csv"):
        read(tmp_path / "absent.csv")


def test_the_hash_is_of_the_file_as_it_lies_there(tmp_path: Path) -> None:
    packed = gzip.compress(b"one\n")
    assert sha256(written(tmp_path, "a.txt.gz", packed)) == hashlib.sha256(packed).hexdigest()
