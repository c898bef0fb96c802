"""Tests of the lab's mail relay: it follows its rules with a real client, and records what happened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab.acme import Network
from tests.lab.certificates import Signer
from tests.lab.errors import LabError
from tests.lab.http_request import PASSWORD
from tests.lab.mail import MailSink
from tests.lab.mail_rules import ALIAS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import Engine


MESSAGE: Final = "From: jo@lab.test\r\nSubject: Grüße\r\n\r\n.a line that begins with a dot\r\nÜbung\r\n"
CLIENT: Final = f"""\
import json, smtplib, ssl, sys
order = json.load(sys.stdin)
context = ssl.create_default_context(cadata=order["ca"])
try:
    if order["port"] % 1000 == 465:
        client = smtplib.SMTP_SSL("{ALIAS}", order["port"], context=context, timeout=10)
    else:
        client = smtplib.SMTP("{ALIAS}", order["port"], timeout=10)
    with client:
        if order["tls"] and order["port"] % 1000 == 587:
            client.starttls(context=context)
        if order["log_in"]:
            client.login(order["user"], order["password"])
        options = ["SMTPUTF8", "BODY=8BITMIME"] if order["utf8"] else []
        client.sendmail("jo@lab.test", order["to"], order["text"].encode(), options)
    print("sent", end="")
except (smtplib.SMTPException, OSError) as error:
    print(repr(error), end="")
"""


@pytest.fixture(scope="module")
def running(engine: Engine) -> Iterator[MailSink]:
    """Yield one relay for all tests; Python's client supports ASCII passwords only."""
    with Network(engine) as network, MailSink.start(engine, network, Signer.root(), password=PASSWORD) as sink:
        yield sink


@pytest.fixture
def sink(running: MailSink) -> MailSink:
    """Return the relay without records and with default rules."""
    running.rules()
    running.forget()
    return running


def send(sink: MailSink, port: int = 465, **changes: Any) -> str:  # noqa: ANN401 - of what the client is given
    """Send a message with Python's client and return the client's result."""
    arguments = {"ca": sink.ca, "port": port, "tls": True, "log_in": port != 25, "utf8": True, "text": MESSAGE}
    arguments |= {"user": sink.user, "password": sink.password, "to": ["a@lab.test"]} | changes
    return sink.engine.docker("exec", "-i", sink.name, "python3", "-c", CLIENT, input=json.dumps(arguments))


@pytest.mark.parametrize("port", [25, 587, 465])
def test_message_is_recorded_unchanged(sink: MailSink, port: int) -> None:
    """With every byte, and its envelope."""
    assert send(sink, port) == "sent"
    (received,) = sink.wait_for(1)
    assert (received.mail_from, received.rcpt_tos, received.raw) == ("jo@lab.test", ["a@lab.test"], MESSAGE.encode())
    assert received.user == (None if port == 25 else sink.user)
    assert bool(received.tls) == (port != 25)
    assert "BODY=8BITMIME" in received.options
    assert received.message["Subject"] == "Grüße"
    (session,) = sink.sessions()
    assert not session.fault
    assert session.verbs()[-4:] == ["MAIL", "RCPT", "DATA", "QUIT"]


@pytest.mark.parametrize("port", [1587, 1465, 2587, 2465])
def test_verifying_client_refuses_a_wrong_certificate(sink: MailSink, port: int) -> None:
    """It connects, and sends no message and no password."""
    wrong = "Hostname mismatch" if port < 2000 else "self-signed certificate"
    assert wrong in send(sink, port)
    (session,) = sink.sessions()
    assert "CERTIFICATE" in session.fault or "UNKNOWN_CA" in session.fault
    assert not {"AUTH", "MAIL"} & set(session.verbs())
    assert sink.messages() == []


def test_login_without_tls_is_recorded(sink: MailSink) -> None:
    """The password is recorded as its SHA-256, the rest unchanged; if STARTTLS is required, no login is possible without."""
    assert "Must issue a STARTTLS" in send(sink, 587, tls=False, log_in=False)
    sink.forget()
    sink.rules(starttls=False)
    assert "STARTTLS extension not supported" in send(sink, 587)
    assert send(sink, 587, tls=False) == "sent"
    careful, careless = sink.sessions()
    assert (careful.verbs(), careful.logins) == (["EHLO", "QUIT"], [])
    assert careless.verbs(tls=False) == ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
    (login,) = careless.logins
    assert (login.user, login.password_sha256, login.tls, login.accepted) == (
        *(sink.user, sink.password_sha256, False, True),
    )
    assert PASSWORD not in str(sink.sessions())


@pytest.mark.parametrize(
    ("rules", "changes", "outcomes"),
    [
        ({"defer_recipients": 1}, {}, ["451", "sent"]),
        ({"defer_messages": 2}, {}, ["451", "451", "sent"]),
        ({"refuse_recipients": ["a@lab.test"]}, {}, ["550, b'5.1.1"]),
        ({"accept_credentials": False}, {}, ["535"]),
        ({}, {"password": "wrong"}, ["535"]),
        ({}, {"log_in": False}, ["530, b'5.7.0 Authentication required"]),
        ({"smtputf8": False}, {}, ["SMTPUTF8 not supported"]),
        ({"smtputf8": False}, {"utf8": False}, ["550, b'5.6.7"]),
        ({"smtputf8": False}, {"utf8": False, "text": "Subject: =?utf-8?q?=C3=BC?=\r\n\r\n\u00fc\r\n"}, ["sent"]),
        ({"eight_bit": False}, {"utf8": False}, ["550, b'5.6.1"]),
        ({}, {"text": f"Subject: {'x' * 1000}\r\n\r\n"}, ["550, b'5.6.0"]),
        ({"mechanisms": ["LOGIN"]}, {}, ["sent"]),
        ({"mechanisms": ["PLAIN"]}, {}, ["sent"]),
    ],
)
def test_a_rule_is_followed(
    sink: MailSink, rules: dict[str, Any], changes: dict[str, Any], outcomes: list[str]
) -> None:
    """As often as it says, and the client sees it."""
    sink.rules(**rules)
    for outcome in outcomes:
        assert outcome in send(sink, **changes)
    assert len(sink.messages()) == outcomes.count("sent")
    if "mechanisms" in rules:
        assert [login.mechanism for login in sink.sessions()[0].logins] == rules["mechanisms"]


def test_one_of_two_recipients_is_refused(sink: MailSink) -> None:
    """The other recipient gets the message."""
    sink.rules(refuse_recipients=["b@lab.test"])
    assert send(sink, to=["a@lab.test", "b@lab.test"]) == "sent"
    assert [received.rcpt_tos for received in sink.messages()] == [["a@lab.test"]]


def test_a_relay_that_is_down_refuses_connections(sink: MailSink) -> None:
    """Its name still has its address; when it is back, all records are kept."""
    assert send(sink) == "sent"
    sink.stop()
    assert "Connection refused" in send(sink)
    sink.resume()
    assert send(sink) == "sent"
    assert len(sink.messages()) == 2
    with pytest.raises(LabError, match="2 messages instead of 3"):
        sink.wait_for(3, limit_s=0.1)


def test_unknown_rule_is_an_error(sink: MailSink) -> None:
    """It isn't ignored."""
    with pytest.raises(TypeError, match="defer_mesages"):
        sink.rules(defer_mesages=1)
