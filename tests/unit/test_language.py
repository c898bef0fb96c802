"""All text is plain technical English, as far as a list of words and the length of sentences can show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import language

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = ("", "baikalctl", "bench", "docs", "examples", "group_data", "tasks", "templates", "tests")


@pytest.mark.parametrize("folder", FOLDERS)
def test_text_has_no_word_to_avoid(folder: str) -> None:
    """Each finding has its file, line, word and what to write instead."""
    names = [name for name in language.files() if name.partition("/")[0 if "/" in name else 1] == folder]
    assert names
    assert [str(finding) for name in names for finding in language.findings(name)] == []


@pytest.mark.parametrize("name", [name for name in language.files() if name.endswith(".md")])
def test_sentences_are_short(name: str) -> None:
    """The average sentence of a page has fewer than 20 words."""
    assert language.average((language.REPOSITORY / name).read_text(encoding="utf-8")) < language.MAX_AVERAGE_WORDS


def test_words_in_comments_strings_names_and_pages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code in backquotes and blocks isn't text."""
    monkeypatch.setattr(language, "REPOSITORY", tmp_path)
    (tmp_path / "a.py").write_text(
        '"""Ask the doctor."""\n\ndef test_nobody_knows(found: int) -> str:\n    return "it was mended"  # anew\n'
    )
    (tmp_path / "b.md").write_text("A page.\n\n```sh\ntold\n```\n\nThe `door` and the user whom it\nwas told.\n")
    python = {(finding.line, finding.word) for finding in language.findings("a.py")}
    assert python == {(1, "doctor"), (3, "nobody"), (3, "found"), (4, "mended"), (4, "anew")}
    assert [(finding.line, finding.word) for finding in language.findings("b.md")] == [(7, "whom"), (8, "told")]


def test_sentences_are_counted_without_code_tables_and_headings() -> None:
    """A list item is a paragraph."""
    text = "# A heading\n\nOne two three. Four\nfive.\n\n| a | b |\n\n- six [seven](eight)\n- `nine ten` eleven\n"
    assert language.sentences(text) == [3, 2, 2, 2]
