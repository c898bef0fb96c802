"""The relay, asked as a mail server asks it: a real one on this machine, right and wrong in every way."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from baikalctl.mail import smtp_probe
from baikalctl.mail.smtp_probe import RelayError
from tests.unit.pairs import CA, FURTHER, issue, pem, signed
from tests.unit.pairs import ROOT as ROOT_CERTIFICATE
from tests.unit.relays import GOOD, HERE, LOGIN, PASSWORD, UNSIGNED, Answers, relay
from tests.unit.relays import relaying as serving

if TYPE_CHECKING:
    from pathlib import Path

NAME = "cal.example.org"


def fault(folder: Path, answers: Answers, chain: bytes = GOOD, **changed: object) -> RelayError:
    """Return why the relay takes no mail, and make sure that the password isn't told."""
    with serving(folder, answers, chain), pytest.raises(RelayError) as caught:
        smtp_probe.probe(relay(folder, answers.port, **changed), NAME)
    assert PASSWORD not in str(caught.value)
    assert {"AUTH", "NOOP"}.isdisjoint(answers.clear)
    assert answers.heard.count("AUTH") <= 1
    return caught.value


def test_a_relay_that_takes_mail_is_greeted_by_name_and_left(tmp_path: Path) -> None:
    """It is logged in to, and no mail is sent; in the clear there is nothing but the greeting."""
    with serving(tmp_path, Answers()) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port), NAME)
    assert answers.clear == ["EHLO", "STARTTLS"]
    assert answers.names == [NAME, NAME]
    assert answers.heard == ["EHLO", "AUTH", "NOOP", "QUIT"]


def test_a_relay_may_speak_tls_from_the_start(tmp_path: Path) -> None:
    """As at port 465."""
    with serving(tmp_path, Answers(encrypted=True)) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port, tls="tls"), NAME)
    assert answers.clear == []
    assert answers.heard == ["EHLO", "AUTH", "NOOP", "QUIT"]


def test_in_the_clear_nobody_logs_in(tmp_path: Path) -> None:
    """Whatever is declared."""
    with serving(tmp_path, Answers()) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port, tls="none"), NAME)
    assert answers.clear == ["EHLO", "NOOP", "QUIT"]


def test_without_a_login_none_is_tried(tmp_path: Path) -> None:
    """Some relays know their senders by address."""
    with serving(tmp_path, Answers(methods="")) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port, user="", password=""), NAME)
    assert answers.heard == ["EHLO", "NOOP", "QUIT"]


def test_how_a_relay_says_goodbye_is_its_own_business(tmp_path: Path) -> None:
    """It would have taken mail."""
    with serving(tmp_path, Answers(quit="500 stay")) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port), NAME)


def test_the_systems_own_roots_are_believed_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with one that is named, nobody else's."""
    (tmp_path / "system.pem").write_bytes(pem(ROOT_CERTIFICATE))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    with serving(tmp_path, Answers()) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port, ca=""), NAME)
    (tmp_path / "other.pem").write_bytes(pem(issue(ca=True)))
    assert "an unknown signer" in fault(tmp_path, Answers(), ca=str(tmp_path / "other.pem")).reason


@pytest.mark.parametrize("encrypted", [False, True], ids=["STARTTLS", "TLS from the start"])
@pytest.mark.parametrize(
    ("chain", "reason", "remedy"),
    [
        (UNSIGNED, "a certificate that is self-signed or has an unknown root", "set relay_ca to"),
        (pem(signed(HERE)), "a certificate from an unknown signer", "set relay_ca to"),
        (pem(signed(HERE, starts=-90, days=-1), CA), "a certificate that has expired or isn't valid yet", "renewed"),
        (pem(signed(FURTHER), CA), "a certificate for another name", "set relay_host to a name"),
    ],
    ids=["self-signed", "unknown signer", "expired", "another name"],
)
def test_a_certificate_that_is_wrong_ends_it(
    tmp_path: Path, chain: bytes, reason: str, remedy: str, *, encrypted: bool
) -> None:
    """Nothing is said to whoever isn't known to be the relay, and it doesn't pass by itself."""
    answers = Answers(encrypted=encrypted)
    found = fault(tmp_path, answers, chain, tls="tls" if encrypted else "starttls")
    assert found.reason == f"localhost:{answers.port} has {reason}"
    assert remedy in found.remedy
    assert not found.passing
    assert answers.heard == []


def test_an_address_is_checked_as_a_name_is(tmp_path: Path) -> None:
    """The certificate has to be for the address then."""
    assert fault(tmp_path, Answers(), host="127.0.0.1").reason.endswith("has a certificate for another name")


def test_without_starttls_nothing_is_sent(tmp_path: Path) -> None:
    """Somebody in between may have taken the offer away."""
    answers = Answers(starttls=False)
    found = fault(tmp_path, answers)
    assert found.reason == f"localhost:{answers.port} doesn't offer STARTTLS, so nothing is sent to it"
    assert not found.passing
    assert answers.clear == ["EHLO"]


def test_one_that_doesnt_speak_tls_from_the_start_is_told(tmp_path: Path) -> None:
    """The port and relay_tls go together."""
    found = fault(tmp_path, Answers(), tls="tls")
    assert "no TLS connection to " in found.reason
    assert "587 goes with starttls, 465 with tls" in found.remedy
    assert not found.passing


def test_one_that_asks_for_no_login_is_told(tmp_path: Path) -> None:
    """A mail server's port 25 is not its submission's."""
    answers = Answers(methods="")
    found = fault(tmp_path, answers)
    assert (found.reason, found.passing) == (f"localhost:{answers.port} offers no login", False)


def test_one_with_another_kind_of_login_is_told(tmp_path: Path) -> None:
    """With what it offers."""
    found = fault(tmp_path, Answers(methods="XOAUTH2"))
    assert found.reason.endswith("offers only unsupported login methods: XOAUTH2")
    assert not found.passing


@pytest.mark.parametrize(
    ("answer", "reason", "passing"),
    [
        ("535 5.7.8 wrong", f"refuses the login of {LOGIN}: 5.7.8 wrong", False),
        ("535 \x1b[2J\t no", f"refuses the login of {LOGIN}: \\u001b[2J no", False),
        (f"535 what is {PASSWORD}?", f"refuses the login of {LOGIN}: what is [REDACTED]?", False),
        ("454 4.7.0 later", f"has a temporary problem with the login of {LOGIN}: 4.7.0 later", True),
    ],
    ids=["wrong", "for a terminal", "told", "later"],
)
def test_a_login_that_is_refused_is_told(tmp_path: Path, answer: str, reason: str, *, passing: bool) -> None:
    """With the relay's words, and without the password."""
    answers = Answers(login=answer)
    found = fault(tmp_path, answers)
    assert (found.reason, found.passing) == (f"localhost:{answers.port} {reason}", passing)


def test_a_password_that_is_not_there_is_the_deploys_business(tmp_path: Path) -> None:
    """It writes the file."""
    found = fault(tmp_path, Answers(), password=f"{tmp_path}/none")
    assert str(found) == f"the relay's password can't be read from {tmp_path}/none; run the deploy"


@pytest.mark.parametrize("content", [None, "nothing"], ids=["missing", "no certificate"])
def test_a_ca_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    """Before anybody is asked."""
    place = tmp_path / "ca.pem"
    if content:
        place.write_text(content, encoding="ascii")
    answers = Answers()
    found = fault(tmp_path, answers, ca=str(place))
    assert found.reason == f"{place} {'is no certificate in PEM form' if content else 'can' + chr(39) + 't be read'}"
    assert not found.passing
    assert answers.clear == []


@pytest.mark.parametrize(
    ("answers", "reason", "passing"),
    [
        (Answers(greeting="421 too busy"), "answers 421 too busy", True),
        (Answers(greeting="554 not you"), "answers 554 not you", False),
        (Answers(noop="451 try later"), "answers 451 try later", True),
        (Answers(noop="550 no"), "answers 550 no", False),
        (Answers(greeting=""), "closes the connection without an answer", True),
    ],
    ids=["busy", "blocked", "later", "never", "nothing"],
)
def test_what_a_relay_says_instead_is_told(tmp_path: Path, answers: Answers, reason: str, *, passing: bool) -> None:
    """What begins with 4 is to be tried again (RFC 5321, section 4.2.1)."""
    found = fault(tmp_path, answers)
    assert (found.reason, found.passing) == (f"localhost:{answers.port} {reason}", passing)


def test_what_is_no_mail_server_is_told(tmp_path: Path) -> None:
    """It is another port."""
    answers = Answers(greeting="SSH-2.0-OpenSSH_9.2")
    found = fault(tmp_path, answers)
    assert found.reason == f"the server at localhost:{answers.port} doesn't speak SMTP"
    assert not found.passing


def test_one_that_says_nothing_is_waited_for_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its firewall may do that, or it waits for TLS."""
    monkeypatch.setattr(smtp_probe, "TIMEOUT_S", 0.1)
    answers = Answers(greeting=None)
    found = fault(tmp_path, answers)
    assert (found.reason, found.passing) == (f"localhost:{answers.port} doesn't answer within 0.1 seconds", True)


def test_one_that_is_down_may_come_back(tmp_path: Path) -> None:
    """Nothing listens there."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(RelayError, match=rf"^localhost:{port} refuses the connection; ") as caught:
        smtp_probe.probe(relay(tmp_path, port), NAME)
    assert caught.value.passing


@pytest.mark.parametrize(
    ("code", "reason", "passing"),
    [
        (socket.EAI_NONAME, "smtp.example.org has no address in DNS", False),
        (socket.EAI_AGAIN, "the address of smtp.example.org can't be looked up: DNS doesn't answer", True),
    ],
    ids=["unknown", "DNS down"],
)
def test_a_name_that_leads_nowhere_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str, *, passing: bool
) -> None:
    """A typing error stays, DNS comes back."""

    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(RelayError) as caught:
        smtp_probe.probe(relay(tmp_path, 587, host="smtp.example.org"), NAME)
    assert (caught.value.reason, caught.value.passing) == (reason, passing)
