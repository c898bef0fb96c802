"""The relay that mail leaves through: whether it would take mail from here, asked as the mail server asks it."""

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
"""So many characters of a relay's answer are shown."""
PORTS = "587 goes with starttls, 465 with tls"
KINDS = ("PLAIN", "LOGIN", "CRAM-MD5")
"""Kinds of login, the one that nearly everybody offers first; all of them stand behind TLS."""
SELF_SIGNED = (18, 19)
UNKNOWN_SIGNER = (2, 20, 21)
NOT_TODAY = (9, 10)
OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR codes: of a certificate or its root; of what signed it; of its dates; of its name or address."""


class RelayError(HostError):
    """The relay takes no mail from here: the ``reason``, the ``remedy``, and whether it may be ``passing`` by itself."""

    def __init__(self, reason: str, remedy: str, *, passing: bool = False) -> None:
        """Keep all of it; as a text, it is the sentence with what to do."""
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy
        self.passing = passing


def probe(relay: Relay, hostname: str) -> None:
    """Say hello to ``relay`` as ``hostname``, log in where a login is declared, and leave; no mail is sent.

    Raises :class:`RelayError` where it can't be reached, isn't who it should be, or refuses. Nothing but the greeting
    is said before the certificate has been checked, unless the relay is declared to be spoken to in the clear.
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
    """Return what the relay's certificate is checked with, and its name."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=relay.ca or None)
    except ssl.SSLError:
        raise RelayError(
            f"{relay.ca} is no certificate in PEM form", "put the relay's CA there, or empty relay_ca"
        ) from None
    except OSError:
        raise RelayError(f"{relay.ca} can't be read", "put the relay's CA there, or empty relay_ca") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # From Python 3.13 on it is stricter about how a CA writes its certificates than any mail server is.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _password(relay: Relay) -> str:
    """Return the password, which is one line of its file."""
    try:
        return Path(relay.password).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError:
        raise RelayError(f"the relay's password can't be read from {relay.password}", apply_remedy()) from None


def _start_tls(connection: smtplib.SMTP, relay: Relay, context: ssl.SSLContext | None) -> None:
    """Go on encrypted; raises :class:`RelayError` where the relay doesn't offer that."""
    connection.ehlo_or_helo_if_needed()
    if not connection.has_extn("starttls"):
        reason = f"{_where(relay)} doesn't offer STARTTLS, so nothing is sent to it"
        remedy = (
            "if it speaks TLS from the start, as at port 465, set relay_tls to tls; or set the port to its submission's"
        )
        raise RelayError(reason, remedy)
    connection.starttls(context=context)


def _log_in(connection: smtplib.SMTP, relay: Relay, password: str) -> None:
    """Log in; raises :class:`RelayError` where the relay asks for no login, or refuses this one."""
    import smtplib

    offered = connection.esmtp_features.get("auth", "").upper().split()
    if not offered:
        remedy = "take relay_user and relay_password away, or set the port to its submission's, often 587"
        raise RelayError(f"{_where(relay)} offers no login", remedy)
    kinds = [kind for kind in KINDS if kind in offered]
    if not kinds:
        reason = f"{_where(relay)} wants a login of a kind that isn't known here: {_shown(' '.join(offered))}"
        raise RelayError(reason, "ask its provider for one by name and password, PLAIN or LOGIN")
    # Once: Python tries every kind in turn, and a provider locks those out that fail too often.
    connection.esmtp_features["auth"] = kinds[0]
    try:
        connection.login(relay.user, password)
    except smtplib.SMTPAuthenticationError as error:
        output = _said(error, password)
        if 400 <= error.smtp_code < 500:
            reason = f"{_where(relay)} can't tell for now whether {relay.user} may log in: {output}"
            raise RelayError(reason, _later(relay), passing=True) from None
        reason = f"{_where(relay)} doesn't let {relay.user} log in: {output}"
        remedy = "correct relay_user and relay_password; some providers want a password made for programs"
        raise RelayError(reason, remedy) from None


def _refused(relay: Relay, error: smtplib.SMTPException, password: str) -> RelayError:
    """Return what to say where the relay has answered, or has stopped to."""
    import smtplib

    if isinstance(error, smtplib.SMTPServerDisconnected):
        # What has ended the connection, a time-out for example, is told as the context alone.
        if isinstance(error.__context__, OSError):
            return _unreachable(relay, error.__context__)
        reason = f"{_where(relay)} closes the connection without a word"
        return RelayError(reason, "its log tells why; does it let this address in?", passing=True)
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code > 0:
        reason = f"{_where(relay)} answers {error.smtp_code} {_said(error, password)}".rstrip()
        if 400 <= error.smtp_code < 500:
            return RelayError(reason, _later(relay), passing=True)
        return RelayError(reason, "its provider or its log tells why")
    reason = f"what listens at {_where(relay)} doesn't speak SMTP"
    return RelayError(reason, f"correct relay_host and relay_port; {PORTS}")


def _unreachable(relay: Relay, error: OSError) -> RelayError:
    """Return what to say where there is no connection, or none that could be trusted."""
    import ssl

    if isinstance(error, socket.gaierror):
        return _nameless(relay, error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(relay, error)
    if isinstance(error, ssl.SSLError):
        reason = f"{_where(relay)} and this host can't agree on TLS ({error.reason or error})"
        return RelayError(reason, f"it has to speak TLS 1.2 at least; {PORTS}")
    if isinstance(error, ConnectionRefusedError):
        return RelayError(
            f"{_where(relay)} refuses the connection", f"is it down, or relay_port wrong? {PORTS}", passing=True
        )
    if isinstance(error, TimeoutError):
        reason = f"{_where(relay)} doesn't answer within {TIMEOUT_S} seconds"
        remedy = f"is there a firewall in between, or relay_tls wrong? {PORTS}"
        return RelayError(reason, remedy, passing=True)
    return RelayError(f"{_where(relay)} can't be reached: {error.strerror or error}", _later(relay), passing=True)


def _nameless(relay: Relay, error: socket.gaierror) -> RelayError:
    """Return what to say where the relay's name leads nowhere."""
    if error.errno == socket.EAI_AGAIN:
        reason = f"the address of {relay.host} can't be looked up for now"
        return RelayError(reason, "does DNS work here?", passing=True)
    return RelayError(f"there is no address of {relay.host} in DNS", "correct relay_host")


def _untrusted(relay: Relay, error: ssl.SSLCertVerificationError) -> RelayError:
    """Return what to say of a certificate that isn't believed."""
    code = error.verify_code
    if code in OTHER_NAME:
        reason = f"{_where(relay)} shows a certificate of another name"
        return RelayError(reason, "set relay_host to the name that it has a certificate for")
    if code in NOT_TODAY:
        reason = f"{_where(relay)} shows a certificate that has expired or isn't valid yet"
        return RelayError(reason, "it is to be renewed there; or is this host's clock wrong?")
    remedy = "set relay_ca to the file of the CA that has signed it"
    if code in SELF_SIGNED:
        reason = f"{_where(relay)} shows a certificate that is self-signed, or signed by a root that isn't known here"
        return RelayError(reason, remedy)
    if code in UNKNOWN_SIGNER:
        return RelayError(f"{_where(relay)} shows a certificate of a signer that isn't known here", remedy)
    return RelayError(f"{_where(relay)} shows a certificate that isn't trusted: {error.verify_message}", remedy)


def _where(relay: Relay) -> str:
    return f"{relay.host}:{relay.port}"


def _later(relay: Relay) -> str:
    """Return what to do about what is passing."""
    return f"mail is kept and tried again; if it stays so, ask the provider of {relay.host}"


def _said(error: smtplib.SMTPResponseException, password: str) -> str:
    """Return a relay's words in one line, without the password, should they have it."""
    answer = error.smtp_error
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    if password:
        text = text.replace(password, "[REDACTED]")
    return _shown(text)


def _shown(text: str) -> str:
    """Return a server's answer as the part of a message."""
    return escaped(" ".join(text.split()))[:SHOWN]
