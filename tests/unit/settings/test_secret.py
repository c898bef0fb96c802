"""A secret stays one, whatever is done to what holds it."""

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
def test_a_secret_is_hidden_however_it_is_shown(view: Callable[[object], str]) -> None:
    """No way of turning a value into text gives it away."""
    shown = view(Secret(PASSWORD))
    assert "[hidden]" in shown
    assert PASSWORD not in shown


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_settings_show_none_of_their_secrets(view: Callable[[object], str]) -> None:
    """Neither a password nor what is for the CA is in any text made of settings."""
    for_ca = {"acme_eab_key_id": "kid", "acme_eab_hmac_key": HMAC_KEY, "acme_dns_plugin": "rfc2136"}
    shown = view(settings(users=[user(password=JO)], **for_ca, acme_dns_credentials=f"a = b\nkey = {DNS_KEY}"))
    assert "cal.example.org" in shown
    for secret in (PASSWORD, JO, HMAC_KEY, DNS_KEY):
        assert secret not in shown


def test_a_log_line_hides_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """What logging makes of its arguments is hidden as well."""
    logging.getLogger("any").error("connecting with %s", Secret(PASSWORD))
    assert caplog.messages == ["connecting with [hidden]"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled(protocol: int) -> None:
    """A pickle would write the value somewhere."""
    with pytest.raises(TypeError, match="cannot be serialised"):
        pickle.dumps(settings(), protocol)


def test_a_secret_cannot_be_made_json() -> None:
    """JSON without a default for strange values refuses it."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps({"password": Secret(PASSWORD)})


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, dataclasses.asdict], ids=["copy", "deepcopy", "asdict"])
def test_settings_never_come_apart_into_plain_values(act: Callable[[object], object]) -> None:
    """What takes settings apart either refuses or keeps secrets hidden."""
    try:
        taken_apart = act(settings())
    except TypeError as error:
        taken_apart = str(error)
    assert PASSWORD not in str(taken_apart)


def test_a_secret_has_no_attributes_to_be_listed() -> None:
    """There is no ``__dict__`` that a debugger or a serialiser would print."""
    assert not hasattr(Secret(PASSWORD), "__dict__")


def test_only_reveal_gives_a_secret_away() -> None:
    """The one place that needs the value asks for it by name."""
    assert Secret(PASSWORD).reveal() == PASSWORD


def test_secrets_compare_by_value() -> None:
    """Settings with the same passwords are the same settings, and no plain string equals a secret."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert settings() == settings()


def test_what_a_host_is_told_has_no_password() -> None:
    """The host's file has Baïkal's own verifiers and nothing that was typed."""
    text = declared(users=[user(password=JO)]).to_json()
    assert '"digest": "' in text
    assert PASSWORD not in text
    assert JO not in text
    assert json.dumps(PASSWORD)[1:-1] not in text
