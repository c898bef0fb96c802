"""How each kind of value is read, and normalised on the way."""

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


def test_the_ends_of_a_range_belong_to_it() -> None:
    """The least and the greatest number are accepted, their neighbours aren't."""
    port = Number(1, 65535)
    assert [port.read(1), port.read(65535), port.read_text(" 80 ")] == [1, 65535, 80]
    for outside in (0, 65536, -1):
        with pytest.raises(ValueError, match="a whole number from 1 to 65535"):
            port.read(outside)


def test_a_range_names_its_unit() -> None:
    """The words for a number with a unit say it."""
    assert Number(1, 5, "MiB").form == "a whole number from 1 to 5 MiB"


@pytest.mark.parametrize("word", ["true", "True", "YES", "on", "1", " true "])
def test_the_words_for_yes_in_an_environment_are_true(word: str) -> None:
    """Compose files write yes in several ways."""
    assert Flag().read_text(word) is True


@pytest.mark.parametrize("word", ["false", "False", "no", "OFF", "0"])
def test_the_words_for_no_in_an_environment_are_false(word: str) -> None:
    """Above all, the text "false" isn't true for being text."""
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
def test_networks_are_taken_in_cidr_notation(written: object, meant: tuple[str, ...]) -> None:
    """Addresses and netmasks become networks of one form."""
    assert Networks().read(written) == meant


@pytest.mark.parametrize("text", ["10.0.0.0/8,fd00::/8", "10.0.0.0/8 fd00::/8", " 10.0.0.0/8 , fd00::/8,"])
def test_networks_in_an_environment_are_separated_by_commas_or_spaces(text: str) -> None:
    """Either way of writing a list in one variable is read."""
    assert Networks().read_text(text) == ("10.0.0.0/8", "fd00::/8")


def test_no_network_in_an_environment_is_an_empty_list() -> None:
    """An empty variable means none."""
    assert Networks().read_text("") == ()


def test_an_address_with_a_zone_is_refused() -> None:
    """A zone can hold any text, and it would stand in nginx's configuration as it is."""
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
def test_host_names_are_taken_in_one_form_and_in_their_order(written: object, meant: tuple[str, ...]) -> None:
    """As a single one is."""
    assert Hostnames().read(written) == meant


@pytest.mark.parametrize("text", ["a.example.org,b", "a.example.org b", " a.example.org , b,"])
def test_host_names_in_an_environment_are_separated_by_commas_or_spaces(text: str) -> None:
    """As networks are."""
    assert Hostnames().read_text(text) == ("a.example.org", "b")
    assert Hostnames().read_text("") == ()


@pytest.mark.parametrize("written", ["cal.example.org", {"cal.example.org": 1}, 7, None, b"cal"])
def test_host_names_that_are_no_list_are_refused(written: object) -> None:
    """A text would otherwise be a list of letters."""
    with pytest.raises(ValueError, match=r'should be a list of host names, such as \["dav\.example\.org", "'):
        Hostnames().read(written)


def test_a_host_name_is_the_same_in_any_spelling() -> None:
    """Twins are found after they have been normalised."""
    with pytest.raises(ValueError, match=r'has "A\.b\." twice; keep one'):
        Hostnames().read(["a.b", "c.d", "A.b."])


def test_a_choice_names_its_words_in_a_sentence() -> None:
    """The words stand in errors and in the reference as people would list them."""
    assert (Choice("a").form, Choice("a", "b").form, Choice("a", "b", "c").form) == ("a", "a or b", "a, b or c")


def test_off_without_quotes_gets_a_hint() -> None:
    """YAML's off arrives as False, and whoever wrote it is told of the quotes."""
    with pytest.raises(ValueError, match='in quotes: "off"'):
        Choice("on", "off").read(False)  # noqa: FBT003 - the value itself is the case


def test_a_number_where_text_is_due_gets_a_hint_on_quoting() -> None:
    """``--data baikal_version=0.10`` arrives as 0.1, so it can't simply be turned into text."""
    with pytest.raises(ValueError, match="--data guesses types: quote it twice"):
        Text("a release", validators.release_version).read(0.1)


@pytest.mark.parametrize("content", ["geheim", "geheim\n", "geheim\r\n"])
def test_the_newline_that_editors_add_is_no_part_of_a_secret(tmp_path: Path, content: str) -> None:
    """A secret's file may end with a newline of either kind."""
    file = tmp_path / "secret"
    file.write_bytes(content.encode())
    assert SecretValue().resolve({"file": str(file)}, {}, plain=False) == Secret("geheim")
    assert SecretValue().resolve({"env": "IT"}, {"IT": content}, plain=False) == Secret("geheim")


def test_spaces_are_a_part_of_a_secret() -> None:
    """Nothing else than a newline is trimmed."""
    assert SecretValue().resolve({"env": "IT"}, {"IT": " ge heim "}, plain=False) == Secret(" ge heim ")


@pytest.mark.parametrize("content", ["a = b\nc = d", "a = b\nc = d\n", "a = b\r\nc = d\r\n"])
def test_the_inner_lines_of_a_secret_text_stay(tmp_path: Path, content: str) -> None:
    """The last newline goes as everywhere, and those of Windows become ours."""
    kind = SecretValue(lines=True)
    (tmp_path / "secret").write_bytes(content.encode())
    assert kind.resolve({"file": str(tmp_path / "secret")}, {}, plain=False) == Secret("a = b\nc = d")
    assert kind.resolve({"env": "IT"}, {"IT": content}, plain=False) == Secret("a = b\nc = d")
    assert kind.resolve(content, {}, plain=True) == Secret("a = b\nc = d")
    assert kind.resolve("{\n\t}\n\n", {}, plain=True) == Secret("{\n\t}\n")


@pytest.mark.parametrize("content", ["", "\n", "\n\n", " \n", "a\0b", "a\rb", "a\x1bb"])
def test_a_secret_text_is_not_empty_and_has_no_other_control_characters(content: str) -> None:
    """What a terminal or an editor left there by mistake."""
    with pytest.raises(ValueError, match="is empty or has control characters; look into the environment variable IT"):
        SecretValue(lines=True).resolve({"env": "IT"}, {"IT": content}, plain=False)


@pytest.mark.parametrize("content", ["a\nb", "a\r\nb", "a\tb", "a\n\n"])
def test_any_other_secret_is_one_line(content: str) -> None:
    """A password of two lines is a mistake."""
    with pytest.raises(ValueError, match="has control characters or several lines"):
        SecretValue().resolve({"env": "IT"}, {"IT": content}, plain=False)


def test_the_home_directory_is_found_in_the_path_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is what people write, and no shell is there to replace it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").write_text("geheim", encoding="utf-8")
    assert SecretValue().resolve({"file": "~/secret"}, {}, plain=False) == Secret("geheim")


def test_a_secret_by_reference_is_read_from_this_process() -> None:
    """Without more ado, a reference means the environment of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIVEN_BY_THE_TEST", "geheim")
        assert SecretValue().read({"env": "GIVEN_BY_THE_TEST"}) == Secret("geheim")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("ä", '"ä"'), (True, "true"), (None, "null"), (0.1, "0.1"), ("x" * 100, '"' + "x" * 56 + "…")],
)
def test_a_value_in_an_error_is_short_and_as_it_was_written(value: object, shown: str) -> None:
    """Umlauts stay, and a long value doesn't bury the sentence."""
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
def test_batches_are_sizes_or_shares(written: object, meant: tuple[int | str, ...]) -> None:
    """One or a list of them, as a file or --data gives it."""
    assert Batches().read(written) == meant


@pytest.mark.parametrize("written", [0, -1, True, 2.5, "3", "0%", "101%", "25 %", "٣%", [1, 0], [[1]], {}, None, ""])
def test_what_is_no_size_of_a_batch_is_refused(written: object) -> None:
    """With the forms that are."""
    with pytest.raises(ValueError, match=r'which is no size; give a number of hosts, a share such as "25%", or a list'):
        Batches().read(written)
