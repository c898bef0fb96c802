"""How each type of value is read and normalised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from baikalctl.settings import validators
from baikalctl.settings.secret import Secret
from baikalctl.settings.value_types import (
    Batches,
    Choice,
    Flag,
    Hostnames,
    Networks,
    Number,
    SecretValue,
    Text,
    describe,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_limits_of_a_range_are_accepted() -> None:
    """Numbers outside of the range are refused."""
    port = Number(1, 65535)
    assert [port.read(1), port.read(65535), port.read_text(" 80 ")] == [1, 65535, 80]
    for outside in (0, 65536, -1):
        with pytest.raises(ValueError, match="a whole number from 1 to 65535"):
            port.read(outside)


def test_form_of_a_number_has_its_unit() -> None:
    """Errors and the reference use the form."""
    assert Number(1, 5, "MiB").form == "a whole number from 1 to 5 MiB"


@pytest.mark.parametrize("word", ["true", "True", "YES", "on", "1", " true "])
def test_words_for_yes_in_an_environment_variable_are_true(word: str) -> None:
    """Compose files use several words."""
    assert Flag().read_text(word) is True


@pytest.mark.parametrize("word", ["false", "False", "no", "OFF", "0"])
def test_words_for_no_in_an_environment_variable_are_false(word: str) -> None:
    """A text that isn't empty can be false."""
    assert Flag().read_text(word) is False


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([], ()),
        (["10.0.0.0/8"], ("10.0.0.0/8",)),
        (("192.0.2.7",), ("192.0.2.7/32",)),
        (["10.0.0.0/255.0.0.0"], ("10.0.0.0/8",)),
        (["FD00::/8", "::1"], ("fd00::/8", "::1/128")),
    ],
)
def test_networks_are_normalised_to_cidr_notation(written: object, meant: tuple[str, ...]) -> None:
    """Addresses and netmasks too."""
    assert Networks().read(written) == meant


@pytest.mark.parametrize("text", ["10.0.0.0/8,fd00::/8", "10.0.0.0/8 fd00::/8", " 10.0.0.0/8 , fd00::/8,"])
def test_networks_in_an_environment_variable_are_separated_by_commas_or_spaces(text: str) -> None:
    """Both separators can be mixed."""
    assert Networks().read_text(text) == ("10.0.0.0/8", "fd00::/8")


def test_empty_environment_variable_is_an_empty_list_of_networks() -> None:
    """It means no network."""
    assert Networks().read_text("") == ()


def test_address_with_a_zone_is_refused() -> None:
    """A zone can contain any text, which would be written to nginx's configuration."""
    with pytest.raises(ValueError, match=r"write it as 192\.0\.2\.0/24"):
        Networks().read(["fe80::1%eth0; }"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([], ()),
        (["Cal.example.org."], ("cal.example.org",)),
        (("b.example.org", "a.example.org"), ("b.example.org", "a.example.org")),
    ],
)
def test_host_names_are_normalised_and_keep_their_order(written: object, meant: tuple[str, ...]) -> None:
    """Like a single host name."""
    assert Hostnames().read(written) == meant


@pytest.mark.parametrize("text", ["a.example.org,b", "a.example.org b", " a.example.org , b,"])
def test_host_names_in_an_environment_variable_are_separated_by_commas_or_spaces(text: str) -> None:
    """Like networks."""
    assert Hostnames().read_text(text) == ("a.example.org", "b")
    assert Hostnames().read_text("") == ()


@pytest.mark.parametrize("written", ["cal.example.org", {"cal.example.org": 1}, 7, None, b"cal"])
def test_host_names_that_are_not_a_list_are_refused(written: object) -> None:
    """Otherwise each letter of a text would be a name."""
    with pytest.raises(ValueError, match=r'should be a list of host names, such as \["dav\.example\.org", "'):
        Hostnames().read(written)


def test_duplicate_host_name_in_another_spelling_is_refused() -> None:
    """Names are compared after they are normalised."""
    with pytest.raises(ValueError, match=r'has "A\.b\." twice; remove one'):
        Hostnames().read(["a.b", "c.d", "A.b."])


def test_form_of_a_choice_lists_its_words() -> None:
    """Errors and the reference use the form."""
    assert (Choice("a").form, Choice("a", "b").form, Choice("a", "b", "c").form) == ("a", "a or b", "a, b or c")


def test_off_without_quotes_is_refused_with_a_hint() -> None:
    """YAML reads off as False, so the error mentions quotes."""
    with pytest.raises(ValueError, match='in quotes: "off"'):
        Choice("on", "off").read(False)  # noqa: FBT003 - the value itself is the case


def test_number_instead_of_text_is_refused_with_a_hint() -> None:
    """``--data baikal_version=0.10`` is read as 0.1, so a conversion to text would be wrong."""
    with pytest.raises(ValueError, match="--data guesses types: quote it twice"):
        Text("a release", validators.release_version).read(0.1)


@pytest.mark.parametrize("content", ["geheim", "geheim\n", "geheim\r\n"])
def test_newline_at_the_end_of_a_secret_is_removed(tmp_path: Path, content: str) -> None:
    """Editors add it, in the form of Unix or Windows."""
    file = tmp_path / "secret"
    file.write_bytes(content.encode())
    assert SecretValue().resolve({"file": str(file)}, {}, plain=False) == Secret("geheim")
    assert SecretValue().resolve({"env": "IT"}, {"IT": content}, plain=False) == Secret("geheim")


def test_spaces_of_a_secret_are_kept() -> None:
    """Only a newline is removed."""
    assert SecretValue().resolve({"env": "IT"}, {"IT": " ge heim "}, plain=False) == Secret(" ge heim ")


@pytest.mark.parametrize("content", ["a = b\nc = d", "a = b\nc = d\n", "a = b\r\nc = d\r\n"])
def test_lines_of_a_secret_text_are_kept(tmp_path: Path, content: str) -> None:
    """The last newline is removed, and newlines of Windows are converted."""
    kind = SecretValue(lines=True)
    (tmp_path / "secret").write_bytes(content.encode())
    assert kind.resolve({"file": str(tmp_path / "secret")}, {}, plain=False) == Secret("a = b\nc = d")
    assert kind.resolve({"env": "IT"}, {"IT": content}, plain=False) == Secret("a = b\nc = d")
    assert kind.resolve(content, {}, plain=True) == Secret("a = b\nc = d")
    assert kind.resolve("{\n\t}\n\n", {}, plain=True) == Secret("{\n\t}\n")


@pytest.mark.parametrize("content", ["", "\n", "\n\n", " \n", "a\0b", "a\rb", "a\x1bb"])
def test_secret_text_that_is_empty_or_has_control_characters_is_refused(content: str) -> None:
    """A terminal or an editor may have added them by mistake."""
    with pytest.raises(ValueError, match="is empty or has control characters; check the environment variable IT"):
        SecretValue(lines=True).resolve({"env": "IT"}, {"IT": content}, plain=False)


@pytest.mark.parametrize("content", ["a\nb", "a\r\nb", "a\tb", "a\n\n"])
def test_secret_of_several_lines_is_refused(content: str) -> None:
    """Unless the setting is a text."""
    with pytest.raises(ValueError, match="has control characters or several lines"):
        SecretValue().resolve({"env": "IT"}, {"IT": content}, plain=False)


def test_tilde_in_the_path_of_a_secret_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").write_text("geheim", encoding="utf-8")
    assert SecretValue().resolve({"file": "~/secret"}, {}, plain=False) == Secret("geheim")


def test_reference_is_read_from_the_environment_of_this_process() -> None:
    """This is the default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIVEN_BY_THE_TEST", "geheim")
        assert SecretValue().read({"env": "GIVEN_BY_THE_TEST"}) == Secret("geheim")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("ä", '"ä"'), (True, "true"), (None, "null"), (0.1, "0.1"), ("x" * 100, '"' + "x" * 56 + "…")],
)
def test_value_in_an_error_is_shortened(value: object, shown: str) -> None:
    """Umlauts are kept."""
    assert describe(value) == shown


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (3, (3,)),
        ("25%", ("25%",)),
        ([1, 10, "100%"], (1, 10, "100%")),
        ((2,), (2,)),
        ([], ()),
    ],
)
def test_batches_are_numbers_or_percentages(written: object, meant: tuple[int | str, ...]) -> None:
    """One of them, or a list."""
    assert Batches().read(written) == meant


@pytest.mark.parametrize("written", [0, -1, True, 2.5, "3", "0%", "101%", "25 %", "٣%", [1, 0], [[1]], {}, None, ""])
def test_invalid_batch_is_refused(written: object) -> None:
    """The error has the valid forms."""
    with pytest.raises(
        ValueError, match=r'which is not a size; write a number of hosts, a percentage such as "25%", or a list'
    ):
        Batches().read(written)
