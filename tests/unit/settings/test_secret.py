"""No output contains a secret."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import pprint
from typing import TYPE_CHECKING

import pytest

from baikalctl.settings.secret import Secret
from tests.unit.samples import PASSWORD, declared, settings, user

if TYPE_CHECKING:
    from collections.abc import Callable

JO = "Jos Kennwort"
HMAC_KEY = "UmVpdGV0LXNvLXNww6R0"
DNS_KEY = "4q4wM"
VIEWS: dict[str, Callable[[object], str]] = {
    "repr": repr,
    "str": str,
    "format": "{}".format,
    "conversion": "{!r:>40}".format,
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031 - logging formats like this
    "pprint": pprint.pformat,
    "json": lambda value: json.dumps(value, default=str),
    "fields": lambda value: json.dumps(vars(value) if hasattr(value, "__dict__") else [value], default=repr),
    "within a list": lambda value: str([value, {"password": value}]),
    "exception": lambda value: str(ValueError(value)),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_secret_is_hidden_in_every_output(view: Callable[[object], str]) -> None:
    """All ways to convert a value to text print [hidden]."""
    shown = view(Secret(PASSWORD))
    assert "[hidden]" in shown
    assert PASSWORD not in shown


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_secrets_of_settings_are_hidden_in_every_output(view: Callable[[object], str]) -> None:
    """Passwords and keys."""
    for_ca = {"acme_eab_key_id": "kid", "acme_eab_hmac_key": HMAC_KEY, "acme_dns_plugin": "rfc2136"}
    shown = view(settings(users=[user(password=JO)], **for_ca, acme_dns_credentials=f"a = b\nkey = {DNS_KEY}"))
    assert "cal.example.org" in shown
    for secret in (PASSWORD, JO, HMAC_KEY, DNS_KEY):
        assert secret not in shown


def test_secret_is_hidden_in_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """Also as an argument of logging."""
    logging.getLogger("any").error("connecting with %s", Secret(PASSWORD))
    assert caplog.messages == ["connecting with [hidden]"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled(protocol: int) -> None:
    """A pickle would contain the value."""
    with pytest.raises(TypeError, match="cannot be serialised"):
        pickle.dumps(settings(), protocol)


def test_secret_cannot_be_converted_to_json() -> None:
    """Without a default function, JSON refuses it."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps({"password": Secret(PASSWORD)})


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, dataclasses.asdict], ids=["copy", "deepcopy", "asdict"])
def test_copies_of_settings_have_no_plain_secrets(act: Callable[[object], object]) -> None:
    """Copying fails, or the secrets stay hidden."""
    try:
        copied = act(settings())
    except TypeError as error:
        copied = str(error)
    assert PASSWORD not in str(copied)


def test_secret_has_no_dict() -> None:
    """A debugger or a serialiser would print it."""
    assert not hasattr(Secret(PASSWORD), "__dict__")


def test_reveal_returns_the_secret() -> None:
    """Only this method does."""
    assert Secret(PASSWORD).reveal() == PASSWORD


def test_secrets_compare_by_value() -> None:
    """Settings with the same passwords are equal; a plain string never equals a secret."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert settings() == settings()


def test_declared_json_has_no_password() -> None:
    """The file has only digests in Baïkal's form."""
    text = declared(users=[user(password=JO)]).to_json()
    assert '"digest": "' in text
    assert PASSWORD not in text
    assert JO not in text
    assert json.dumps(PASSWORD)[1:-1] not in text
