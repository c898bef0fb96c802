"""The probe of a relay: a real one on this machine, with each possible error."""

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
    """Return why the relay accepts no mail; check that the error doesn't contain the password."""
    with serving(folder, answers, chain), pytest.raises(RelayError) as caught:
        smtp_probe.probe(relay(folder, answers.port, **changed), NAME)
    assert PASSWORD not in str(caught.value)
    assert {"AUTH", "NOOP"}.isdisjoint(answers.clear)
    assert answers.heard.count("AUTH") <= 1
    return caught.value


def test_a_probe_greets_by_name_logs_in_and_quits(tmp_path: Path) -> None:
    """No mail is sent. Before TLS, only the greeting is sent."""
    with serving(tmp_path, Answers()) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port), NAME)
    assert answers.clear == ["EHLO", "STARTTLS"]
    assert answers.names == [NAME, NAME]
    assert answers.heard == ["EHLO", "AUTH", "NOOP", "QUIT"]


def test_a_relay_may_speak_tls_from_the_start(tmp_path: Path) -> None:
    """As on port 465."""
    with serving(tmp_path, Answers(encrypted=True)) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port, tls="tls"), NAME)
    assert answers.clear == []
    assert answers.heard == ["EHLO", "AUTH", "NOOP", "QUIT"]


def test_no_login_is_sent_without_tls(tmp_path: Path) -> None:
    """Even if one is declared."""
    with serving(tmp_path, Answers()) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port, tls="none"), NAME)
    assert answers.clear == ["EHLO", "NOOP", "QUIT"]


def test_without_a_declared_login_none_is_sent(tmp_path: Path) -> None:
    """Some relays know their senders by address."""
    with serving(tmp_path, Answers(methods="")) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port, user="", password=""), NAME)
    assert answers.heard == ["EHLO", "NOOP", "QUIT"]


def test_an_error_at_quit_is_ignored(tmp_path: Path) -> None:
    """The relay would have accepted mail."""
    with serving(tmp_path, Answers(quit="500 stay")) as answers:
        smtp_probe.probe(relay(tmp_path, answers.port), NAME)


def test_the_systems_roots_are_trusted_if_relay_ca_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With relay_ca, only that CA is trusted."""
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
def test_a_wrong_certificate_ends_the_probe(
    tmp_path: Path, chain: bytes, reason: str, remedy: str, *, encrypted: bool
) -> None:
    """Nothing is sent to an unknown server. The error isn't temporary."""
    answers = Answers(encrypted=encrypted)
    error = fault(tmp_path, answers, chain, tls="tls" if encrypted else "starttls")
    assert error.reason == f"localhost:{answers.port} has {reason}"
    assert remedy in error.remedy
    assert not error.passing
    assert answers.heard == []


def test_the_certificate_must_cover_an_address(tmp_path: Path) -> None:
    """The certificate has to be for the address then."""
    assert fault(tmp_path, Answers(), host="127.0.0.1").reason.endswith("has a certificate for another name")


def test_without_starttls_nothing_is_sent(tmp_path: Path) -> None:
    """An attacker on the way may have removed the offer."""
    answers = Answers(starttls=False)
    error = fault(tmp_path, answers)
    assert error.reason == f"localhost:{answers.port} doesn't offer STARTTLS, so nothing is sent to it"
    assert not error.passing
    assert answers.clear == ["EHLO"]


def test_a_relay_without_tls_from_the_start_is_reported(tmp_path: Path) -> None:
    """The port and relay_tls must match."""
    error = fault(tmp_path, Answers(), tls="tls")
    assert "no TLS connection to " in error.reason
    assert "587 goes with starttls, 465 with tls" in error.remedy
    assert not error.passing


def test_a_relay_without_a_login_is_reported(tmp_path: Path) -> None:
    """Port 25 of a mail server isn't its submission port."""
    answers = Answers(methods="")
    error = fault(tmp_path, answers)
    assert (error.reason, error.passing) == (f"localhost:{answers.port} offers no login", False)


def test_a_relay_with_unsupported_login_methods_is_reported(tmp_path: Path) -> None:
    """With the methods that it offers."""
    error = fault(tmp_path, Answers(methods="XOAUTH2"))
    assert error.reason.endswith("offers only unsupported login methods: XOAUTH2")
    assert not error.passing


@pytest.mark.parametrize(
    ("answer", "reason", "passing"),
    [
        ("535 5.7.8 wrong", f"refuses the login of {LOGIN}: 5.7.8 wrong", False),
        ("535 \x1b[2J\t no", f"refuses the login of {LOGIN}: \\u001b[2J no", False),
        (f"535 what is {PASSWORD}?", f"refuses the login of {LOGIN}: what is [REDACTED]?", False),
        ("454 4.7.0 later", f"has a temporary problem with the login of {LOGIN}: 4.7.0 later", True),
    ],
    ids=["wrong", "escape sequence", "with the password", "later"],
)
def test_a_refused_login_is_reported(tmp_path: Path, answer: str, reason: str, *, passing: bool) -> None:
    """With the relay's answer, and without the password."""
    answers = Answers(login=answer)
    error = fault(tmp_path, answers)
    assert (error.reason, error.passing) == (f"localhost:{answers.port} {reason}", passing)


def test_a_missing_password_file_has_the_deploy_as_its_remedy(tmp_path: Path) -> None:
    """The deploy writes the file."""
    error = fault(tmp_path, Answers(), password=f"{tmp_path}/none")
    assert str(error) == f"the relay's password can't be read from {tmp_path}/none; run the deploy"


@pytest.mark.parametrize("content", [None, "nothing"], ids=["missing", "no certificate"])
def test_an_unusable_ca_file_is_named(tmp_path: Path, content: str | None) -> None:
    """Before any connection."""
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content, encoding="ascii")
    answers = Answers()
    error = fault(tmp_path, answers, ca=str(path))
    assert error.reason == f"{path} {'is no certificate in PEM form' if content else 'can' + chr(39) + 't be read'}"
    assert not error.passing
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
def test_an_error_of_the_relay_is_reported(tmp_path: Path, answers: Answers, reason: str, *, passing: bool) -> None:
    """Codes that begin with 4 are temporary (RFC 5321, section 4.2.1)."""
    error = fault(tmp_path, answers)
    assert (error.reason, error.passing) == (f"localhost:{answers.port} {reason}", passing)


def test_a_server_that_does_not_speak_smtp_is_reported(tmp_path: Path) -> None:
    """The port is wrong."""
    answers = Answers(greeting="SSH-2.0-OpenSSH_9.2")
    error = fault(tmp_path, answers)
    assert error.reason == f"the server at localhost:{answers.port} doesn't speak SMTP"
    assert not error.passing


def test_a_relay_that_does_not_answer_is_reported_after_a_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall may drop packets, or the port needs TLS from the start."""
    monkeypatch.setattr(smtp_probe, "TIMEOUT_S", 0.1)
    answers = Answers(greeting=None)
    error = fault(tmp_path, answers)
    assert (error.reason, error.passing) == (f"localhost:{answers.port} doesn't answer within 0.1 seconds", True)


def test_a_refused_connection_is_temporary(tmp_path: Path) -> None:
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
def test_a_name_without_an_address_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str, *, passing: bool
) -> None:
    """A typing error is permanent, a failure of DNS is temporary."""

    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(RelayError) as caught:
        smtp_probe.probe(relay(tmp_path, 587, host="smtp.example.org"), NAME)
    assert (caught.value.reason, caught.value.passing) == (reason, passing)
