"""The certificate that a server sends, and a client that checks all the time that it answers."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from cryptography import x509

if TYPE_CHECKING:
    import datetime as dt

LIMIT_S = 10


@dataclass(frozen=True)
class ServedCertificate:
    """A certificate as sent by a server."""

    serial: int
    names: tuple[str, ...]
    issuer: str
    ends: dt.datetime
    pem: str


def served_certificate(port: int, name: str) -> ServedCertificate:
    """Return the certificate that a port of loopback sends for ``name``, trusted or not."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        der = connection.getpeercert(binary_form=True) or b""
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return ServedCertificate(
        serial=certificate.serial_number,
        names=tuple(str(name.value) for name in names),
        issuer=certificate.issuer.rfc4514_string(),
        ends=certificate.not_valid_after_utc,
        pem=ssl.DER_cert_to_PEM_cert(der),
    )


@dataclass
class PollingClient:
    """A client that requests DAV all the time, with a new connection each time, trusts one CA, and counts answers.

    As a context manager, it runs from the block's beginning to its end.
    """

    port: int
    name: str
    authority: str
    """PEM of the CA that must have signed the certificate."""
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    serials: set[str] = field(default_factory=set)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start the requests."""
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the requests."""
        self._done.set()
        if self._thread:
            self._thread.join(LIMIT_S)

    def _poll(self) -> None:
        context = ssl.create_default_context(cadata=self.authority)
        head = f"PROPFIND /dav.php/ HTTP/1.0\r\nHost: {self.name}\r\n\r\n".encode()
        while not self._done.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S) as plain,
                    context.wrap_socket(plain, server_hostname=self.name) as connection,
                ):
                    connection.sendall(head)
                    line = connection.makefile("rb").readline()
                    self.serials.add(str((connection.getpeercert() or {}).get("serialNumber")))
                if b" 401 " in line:
                    self.answers += 1
                else:
                    self.failures.append(repr(line))
            except OSError as error:
                self.failures.append(repr(error))
