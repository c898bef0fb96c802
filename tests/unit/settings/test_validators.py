"""No rule accepts a text that changes the meaning of a configuration file. The other rules are in the tables (cases)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from baikalctl.settings import validators

if TYPE_CHECKING:
    from collections.abc import Callable

BREAKS = (
    *(
        " ",
        "\n",
        "\r",
        "\t",
        "\x7f",
        "\x85",
        "\u2028",
        "\xa0",
        '"',
        "'",
        "#",
        ";",
        "[x]",
        "\\",
        "`",
        "$(x)",
        "{x}",
        ",",
    ),
)
"""Parts of a text that would change the meaning of a line in a configuration file."""


@pytest.mark.parametrize("text", BREAKS, ids=ascii)
@pytest.mark.parametrize(
    ("rule", "right"),
    [
        (validators.email_address, "jo@example.org"),
        (validators.key_id, "kid"),
        (validators.dns_plugin, "rfc2136"),
        (validators.host_path, "/usr/local/bin/dns"),
        (validators.sender, "cal@example.org"),
        (validators.relay_host, "smtp.example.org"),
        (validators.selector, "baikal"),
        (validators.database_host, "db.example.org"),
        (validators.database_name, "baikal"),
        (validators.database_user, "baikal"),
    ],
)
def test_text_with_special_characters_is_refused_for_configuration_files(
    rule: Callable[[str], str], right: str, text: str
) -> None:
    """At any position: line ends, comments, lists, quotation marks, and characters that a shell interprets."""
    for broken in (text + right, right[:2] + text + right[2:], right + text):
        with pytest.raises(ValueError, match=r"letters|plugin of certbot|has characters that are not ASCII"):
            rule(broken)


@pytest.mark.parametrize("text", [part for part in BREAKS if part not in ("[x]", ",")], ids=ascii)
def test_acme_server_with_special_characters_is_refused(text: str) -> None:
    """Brackets (IPv6 addresses) and commas (paths) are allowed in a URL."""
    right = "https://ca.example.org/dir"
    for broken in (text + right, right[:10] + text + right[10:], right + text):
        with pytest.raises(ValueError, match="is not an ACME server"):
            validators.acme_server(broken)


@pytest.mark.parametrize(
    ("rule", "text"), [(validators.repository, ""), (validators.printable, "hunter2\n"), (validators.login, "jo\n")]
)
def test_empty_text_or_newline_is_refused_by_the_rule_itself(rule: Callable[[str], str], text: str) -> None:
    """Although the type of the setting handles them first."""
    with pytest.raises(ValueError, match=r"is not a (restic repository|login name)|choose another password") as caught:
        rule(text)
    assert "hunter2" not in str(caught.value)
