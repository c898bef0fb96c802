"""Find text that isn't plain technical English: words and names to avoid, and pages whose sentences are too long.

``python -m tests.language [PATH …]`` prints a line per finding: file, line, the word, and what to write.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

REPOSITORY: Final = Path(__file__).parents[1]
MAX_AVERAGE_WORDS: Final = 20
"""The limit for the average sentence of a page."""

INSTEAD: Final[Mapping[str, str]] = {
    r"doctors?": "check",
    r"doors?": "maintenance mode, or the proper name",
    r"errands?": "one-off container",
    r"last word": "what is meant",
    r"told": "notified, configured, passed, answered",
    r"said": "reported, printed, written",
    r"brings?|brought": "upload, install, copy, set, cause",
    r"mend(s|ed|ing)?": "fix",
    r"somebody|someone": "a user, another process, another host",
    r"nobody": "no user, no client, no process",
    r"everybody": "all users, all clients",
    r"who(m)?ever": "the user who, the process that",
    r"whatever": "any, all, whichever of",
    r"whom": "name the actor",
    r"(else|other)'s": "name the owner",
    r"strangers?": "anonymous client, other account",
    r"anew": "again, or a verb with re-",
    r"whence": "from where, from which",
    r"meanwhile": "during this time, while …",
    r"thereof": "of it",
    r"beside": "next to, in addition to",
    r"of (which|whose|whom)": "a sentence of its own",
    r"of ours": "our",
    r"(is|are|was|were) looked at": "is checked, is read",
    r"car(e|es|ed|ing) for": "renew, maintain",
    r"t(ake|akes|aken|ook) back": "roll back, undo",
    r"(go|goes|went|gone) on|going on": "continue",
    r"comes? again": "try again, retry",
    r"what is there": "existing data, existing files",
    r"in the way": "conflicts, prevents",
    r"on trial": "as a test",
    r"out of nothing": "on a new machine",
    r"alas": "",
}
"""A regular expression per word, in any case, and what to write instead of it."""

NAMES: Final = frozenset({"beside", "found", "given", "here", "place", "places", "said", "there", "told"})
"""Names that don't say what a variable holds."""

VARIABLES: Final = re.compile(rf"\b(?:{'|'.join(sorted(NAMES))})\b")
WORDS: Final = re.compile(
    r"(?<![\w/-])(?:" + "|".join(f"(?P<w{number}>{word})" for number, word in enumerate(INSTEAD)) + r")(?![\w/-])",
    re.IGNORECASE,
)
FSTRING_MIDDLE: Final = getattr(tokenize, "FSTRING_MIDDLE", -1)
"""What is between the braces of an f-string, from Python 3.12 on; before, an f-string is one STRING."""
CODE: Final = re.compile(r"``[^`]*``|`[^`]*`")
NOT_OURS: Final = ("tests/language.py", "tests/unit/test_language.py", "LICENSE")
TEXT: Final = frozenset({".md", ".j2", ".php", ".yaml", ".yml", ".toml", ".sh", ".svg", ".cnf", ".conf", ""})


@dataclass(frozen=True)
class Finding:
    """A word to replace: its file, from the repository's folder on, its line, and what to write instead."""

    file: str
    line: int
    word: str
    instead: str

    def __str__(self) -> str:
        """Return the finding as a compiler would print it."""
        return f"{self.file}:{self.line}: {self.word!r}: {self.instead}"


def files(paths: Iterable[str] = ()) -> list[str]:
    """Return the tracked and new files of the repository whose text is ours, those below ``paths`` if any are named."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *paths]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    return [
        name
        for name in names
        if name not in NOT_OURS and (REPOSITORY / name).is_file() and Path(name).suffix in {".py", *TEXT}
    ]


def findings(name: str) -> Iterator[Finding]:
    """Yield what is wrong in a file."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    lines = (
        _python(text)
        if name.endswith(".py")
        else _prose(text)
        if name.endswith(".md")
        else enumerate(text.splitlines(), 1)
    )
    for number, line in lines:
        for match in WORDS.finditer(CODE.sub("``", line)):
            instead = list(INSTEAD.values())[int(str(match.lastgroup)[1:])]
            yield Finding(name, number, match[0], instead)
    if name.endswith(".py"):
        for number, variable in _variables(text):
            yield Finding(name, number, variable, "a name that says what the variable holds")


def sentences(text: str) -> list[int]:
    """Return the number of words of each sentence of a page's prose: no code, no tables, no headings."""
    paragraphs: list[str] = [""]
    for _, line in _prose(text):
        plain = line.strip()
        if not plain or plain.startswith(("#", "|", "<")):
            paragraphs.append("")
        elif re.match(r"([-*]|\d+\.) ", plain):
            paragraphs.append(re.sub(r"^\S+ ", "", plain))
        else:
            paragraphs[-1] += f" {plain}"
    counts = []
    for paragraph in paragraphs:
        words = re.sub(r"\]\([^)]*\)", "]", CODE.sub("code", paragraph)).replace("**", "")
        counts += [len(part.split()) for part in re.split(r"(?<=[.!?])[”)]?\s+", words) if part.split()]
    return counts


def average(text: str) -> float:
    """Return how many words the average sentence of a page has; 0 where there is no prose."""
    counts = sentences(text)
    return sum(counts) / len(counts) if counts else 0.0


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a Markdown page, numbered, that aren't in a block of code; those are empty."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        yield number, "" if fenced or fence else line


def _python(text: str) -> Iterator[tuple[int, str]]:
    """Yield comments, strings and the words of the names of functions and classes, each with its line."""
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.COMMENT, FSTRING_MIDDLE}:
            yield token.start[0], token.string
        elif token.type == tokenize.STRING:
            written = re.sub(r"^\w*('''|\"\"\"|'|\")|('''|\"\"\"|'|\")$", "", token.string)
            if written != "nobody":  # the account of that name
                for number, line in enumerate(written.splitlines()):
                    yield token.start[0] + number, line
        elif before in {"def", "class"}:
            yield token.start[0], token.string.replace("_", " ").strip()
        before = token.string


def _variables(text: str) -> Iterator[tuple[int, str]]:
    """Yield variables and parameters that have one of ``NAMES``, each with its line."""
    if not VARIABLES.search(text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in NAMES:
            yield node.lineno, node.id
        elif isinstance(node, ast.arg) and node.arg in NAMES:
            yield node.lineno, node.arg


def main(paths: list[str]) -> int:
    """Print the findings in all files, or in those below ``paths``; return the exit status."""
    count = 0
    for name in files(paths):
        for finding in findings(name):
            print(finding)
            count += 1
        if (
            name.endswith(".md")
            and (words := average((REPOSITORY / name).read_text(encoding="utf-8"))) >= MAX_AVERAGE_WORDS
        ):
            print(f"{name}: the average sentence has {words:.1f} words")
            count += 1
    print(f"{count} findings", file=sys.stderr)
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
