"""How sure words alone may be: what is fitted, and what `cascade.words` makes of the same questions."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from loadtest.__main__ import main

ARTICLE = "---\nid: {id}\ntitle: {title}\nuri: u/{id}\nupdated: 2026-01-01\nanswer: See below.\n---\n{title}.\n"


def test_what_says_the_same_words_is_found_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "articles"
    folder.mkdir()
    for name, title in (("lost-card", "Lost wallet"), ("fees", "Fees abroad"), ("limits", "Daily limits")):
        (folder / f"{name}.md").write_text(ARTICLE.format(id=name, title=title))
    asked = [("lost wallet", "lost_card"), ("fees abroad", "fees"), ("daily limits", "limits"), ("fees", "limits")]
    (tmp_path / "asked.csv").write_text("text,category\n" + "".join(f"{text},{right}\n" for text, right in asked))
    ran = CliRunner().invoke(main, ["words", str(tmp_path / "asked.csv"), "--documents", str(folder)])
    assert ran.exit_code == 0, ran.output
    assert "4 questions, the right document first for 75.0%" in ran.output
    assert "by cascade.words, 0.5 and more: 100.0% of them, right 75.0%" in ran.output
