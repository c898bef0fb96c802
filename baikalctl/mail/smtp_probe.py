"""Check whether the relay would accept mail from this host, with the same commands as a mail server."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.runtime import apply_remedy
from baikalctl.output import escaped

if TYPE_CHECKING:
    import smtplib
    import ssl

    from baikalctl.desired.state import Relay


TIMEOUT_S = 10
SHOWN = 200
"""How many characters of a relay's answer are shown."""
PORTS = "587 goes with starttls, 465 with tls"
KINDS = ("PLAIN", "LOGIN", "CRAM-MD5")
"""Supported login methods, the most common one first. All are used only with TLS."""
SELF_SIGNED = (18, 19)
UNKNOWN_SIGNER = (2, 20, 21)
NOT_TODAY = (9, 10)
OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR codes: self-signed certificate or root; unknown signer; wrong dates; wrong name or address."""


class RelayError(HostError):
    """The relay accepts no mail from this host: ``reason``, ``remedy``, and whether it may be temporary (``passing``)."""

    def __init__(self, reason: str, remedy: str, *, passing: bool = False) -> None:
        """Store all; the error's text is reason and remedy."""
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy
        self.passing = passing


def probe(relay: Relay, hostname: str) -> None:
    """Connect to ``relay`` as ``hostname``, log in if a login is declared, and quit; no mail is sent.

    Raises :class:`RelayError` if the relay can't be reached, has a wrong certificate, or refuses. Before its certificate
    is checked, only the greeting is sent, unless relay_tls is none.
    """
    context = None if relay.tls == "none" else _context(relay)
    password = _password(relay) if relay.user and context else ""

    def ask() -> dict[str, Any]:
        try:
            _ask(relay, hostname, context, password)
        except RelayError as error:
            return {"reason": error.reason, "remedy": error.remedy, "passing": error.passing}
        return {}

    if refused := confined(ask):
        raise RelayError(**refused)


def _ask(relay: Relay, hostname: str, context: ssl.SSLContext | None, password: str) -> None:
    import smtplib

    try:
        with contextlib.closing(_connected(relay, hostname, context)) as connection:
            if relay.tls == "starttls":
                _start_tls(connection, relay, context)
            connection.ehlo_or_helo_if_needed()
            if relay.user and context:
                _log_in(connection, relay, password)
            code, answer = connection.noop()
            if code != 250:
                raise smtplib.SMTPResponseException(code, answer)
            with contextlib.suppress(smtplib.SMTPException):
                connection.quit()
    except smtplib.SMTPException as error:
        raise _refused(relay, error, password) from None
    except OSError as error:
        raise _unreachable(relay, error) from None


def _connected(relay: Relay, hostname: str, context: ssl.SSLContext | None) -> smtplib.SMTP:
    import smtplib

    if relay.tls == "tls":
        return smtplib.SMTP_SSL(relay.host, relay.port, hostname, timeout=TIMEOUT_S, context=context)
    return smtplib.SMTP(relay.host, relay.port, hostname, timeout=TIMEOUT_S)


def _context(relay: Relay) -> ssl.SSLContext:
    """Return the TLS settings that check the relay's certificate and its name."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=relay.ca or None)
    except ssl.SSLError:
        raise RelayError(
            f"{relay.ca} is no certificate in PEM form", "store the relay's CA there, or unset relay_ca"
        ) from None
    except OSError:
        raise RelayError(f"{relay.ca} can't be read", "store the relay's CA there, or unset relay_ca") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 and later reject CA certificates that mail servers accept.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _password(relay: Relay) -> str:
    """Return the password, one line of its file."""
    try:
        return Path(relay.password).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError:
        raise RelayError(f"the relay's password can't be read from {relay.password}", apply_remedy()) from None


def _start_tls(connection: smtplib.SMTP, relay: Relay, context: ssl.SSLContext | None) -> None:
    """Switch to TLS; raises :class:`RelayError` if the relay doesn't offer it."""
    connection.ehlo_or_helo_if_needed()
    if not connection.has_extn("starttls"):
        reason = f"{_where(relay)} doesn't offer STARTTLS, so nothing is sent to it"
        remedy = "for a port with TLS from the start, such as 465, set relay_tls to tls; or set relay_port to 587"
        raise RelayError(reason, remedy)
    connection.starttls(context=context)


def _log_in(connection: smtplib.SMTP, relay: Relay, password: str) -> None:
    """Log in; raises :class:`RelayError` if the relay offers no login or refuses this one."""
    import smtplib

    offered = connection.esmtp_features.get("auth", "").upper().split()
    if not offered:
        remedy = "remove relay_user and relay_password, or set relay_port to its submission port, often 587"
        raise RelayError(f"{_where(relay)} offers no login", remedy)
    kinds = [kind for kind in KINDS if kind in offered]
    if not kinds:
        reason = f"{_where(relay)} offers only unsupported login methods: {_shown(' '.join(offered))}"
        raise RelayError(reason, "ask its provider for a login with user and password (PLAIN or LOGIN)")
    # Only one method: Python would try each in turn, and providers lock accounts after several failures.
    connection.esmtp_features["auth"] = kinds[0]
    try:
        connection.login(relay.user, password)
    except smtplib.SMTPAuthenticationError as error:
        answer = _answer(error, password)
        if 400 <= error.smtp_code < 500:
            reason = f"{_where(relay)} has a temporary problem with the login of {relay.user}: {answer}"
            raise RelayError(reason, _later(relay), passing=True) from None
        reason = f"{_where(relay)} refuses the login of {relay.user}: {answer}"
        remedy = "correct relay_user and relay_password; some providers require an app password"
        raise RelayError(reason, remedy) from None


def _refused(relay: Relay, error: smtplib.SMTPException, password: str) -> RelayError:
    """Return the error for a relay that has answered with a failure, or has closed the connection."""
    import smtplib

    if isinstance(error, smtplib.SMTPServerDisconnected):
        # The cause, for example a timeout, is only in the exception's context.
        if isinstance(error.__context__, OSError):
            return _unreachable(relay, error.__context__)
        reason = f"{_where(relay)} closes the connection without an answer"
        return RelayError(reason, "see its log; does it allow connections from this host's address?", passing=True)
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code > 0:
        reason = f"{_where(relay)} answers {error.smtp_code} {_answer(error, password)}".rstrip()
        if 400 <= error.smtp_code < 500:
            return RelayError(reason, _later(relay), passing=True)
        return RelayError(reason, "see its log, or ask its provider")
    reason = f"the server at {_where(relay)} doesn't speak SMTP"
    return RelayError(reason, f"correct relay_host and relay_port; {PORTS}")


def _unreachable(relay: Relay, error: OSError) -> RelayError:
    """Return the error for a failed connection, or for one that can't be trusted."""
    import ssl

    if isinstance(error, socket.gaierror):
        return _nameless(relay, error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(relay, error)
    if isinstance(error, ssl.SSLError):
        reason = f"no TLS connection to {_where(relay)} is possible ({error.reason or error})"
        return RelayError(reason, f"it must support TLS 1.2 or later; {PORTS}")
    if isinstance(error, ConnectionRefusedError):
        return RelayError(
            f"{_where(relay)} refuses the connection", f"is it down, or is relay_port wrong? {PORTS}", passing=True
        )
    if isinstance(error, TimeoutError):
        reason = f"{_where(relay)} doesn't answer within {TIMEOUT_S} seconds"
        remedy = f"is there a firewall in between, or is relay_tls wrong? {PORTS}"
        return RelayError(reason, remedy, passing=True)
    return RelayError(f"{_where(relay)} can't be reached: {error.strerror or error}", _later(relay), passing=True)


def _nameless(relay: Relay, error: socket.gaierror) -> RelayError:
    """Return the error for a relay whose name has no address."""
    if error.errno == socket.EAI_AGAIN:
        reason = f"the address of {relay.host} can't be looked up: DNS doesn't answer"
        return RelayError(reason, "check DNS on this host", passing=True)
    return RelayError(f"{relay.host} has no address in DNS", "correct relay_host")


def _untrusted(relay: Relay, error: ssl.SSLCertVerificationError) -> RelayError:
    """Return the error for a certificate that isn't trusted."""
    code = error.verify_code
    if code in OTHER_NAME:
        reason = f"{_where(relay)} has a certificate for another name"
        return RelayError(reason, "set relay_host to a name in the certificate")
    if code in NOT_TODAY:
        reason = f"{_where(relay)} has a certificate that has expired or isn't valid yet"
        return RelayError(reason, "it must be renewed there; or is this host's clock wrong?")
    remedy = "set relay_ca to the file of the CA that has signed it"
    if code in SELF_SIGNED:
        reason = f"{_where(relay)} has a certificate that is self-signed or has an unknown root"
        return RelayError(reason, remedy)
    if code in UNKNOWN_SIGNER:
        return RelayError(f"{_where(relay)} has a certificate from an unknown signer", remedy)
    return RelayError(f"{_where(relay)} has a certificate that isn't trusted: {error.verify_message}", remedy)


def _where(relay: Relay) -> str:
    return f"{relay.host}:{relay.port}"


def _later(relay: Relay) -> str:
    """Return what to do about a temporary problem."""
    return f"mail is kept and sent later; if the problem stays, ask the provider of {relay.host}"


def _answer(error: smtplib.SMTPResponseException, password: str) -> str:
    """Return a relay's answer in one line. If it contains the password, that is removed."""
    answer = error.smtp_error
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    if password:
        text = text.replace(password, "[REDACTED]")
    return _shown(text)


def _shown(text: str) -> str:
    """Return a server's answer for use in a message: one line, escaped and cut."""
    return escaped(" ".join(text.split()))[:SHOWN]
