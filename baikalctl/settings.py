"""What is wanted: the one list of settings, each with its name, kind, default and meaning.

The names of group data and of environment variables, the validation, and the reference table in the documentation
all come from the definitions here.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baikalctl import rules
from baikalctl.accounts import User, UsersValue, read_users
from baikalctl.definition import Definition, define
from baikalctl.environment import is_of_others, referred
from baikalctl.faults import Fault, SettingsError, unknown
from baikalctl.kinds import Batches, Choice, Flag, Networks, Number, SecretValue, Text, describe
from baikalctl.release import KNOWN_RELEASES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from baikalctl.secret import Secret

PREFIX = "BAIKAL_"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that somebody can say about a server; immutable, and valid once it exists."""

    hostname: str = define(
        Text("a host name", rules.hostname, empty=True),
        "",
        area="identity",
        meaning="The name that clients type, such as cal.example.org. Every machine needs one; an image doesn't.",
    )
    timezone: str = define(
        Text("a time zone", rules.timezone), "UTC", area="identity", meaning="Time zone of the server, as Area/City."
    )
    baikal_version: str = define(
        Text("a release", rules.release_version),
        "0.12.1",
        area="Baïkal",
        meaning="Which release of Baïkal to run.",
        machine_only=True,
    )
    baikal_archive: str = define(
        Text("a path or an address", rules.archive, empty=True),
        "",
        area="Baïkal",
        meaning="A release's zip of your own: a path on this machine or an address. Empty: the official one.",
        machine_only=True,
    )
    baikal_sha256: str = define(
        Text("a SHA-256", rules.checksum, empty=True),
        "",
        area="Baïkal",
        meaning="Checksum of the zip. Needed for an address with a release that isn't known here.",
        machine_only=True,
    )
    baikal_download: str = define(
        Choice("here", "host"),
        "here",
        area="Baïkal",
        meaning="Who downloads the release: this machine, once for all hosts, or every host by itself.",
        machine_only=True,
    )
    admin_password: Secret | None = define(
        SecretValue(),
        None,
        area="Baïkal",
        meaning="Password of `admin` on the /admin/ pages.",
        raw_default={"env": "BAIKAL_ADMIN_PASSWORD"},
    )
    dav_auth: str = define(
        Choice("basic", "digest"),
        "basic",
        area="Baïkal",
        meaning="How calendar clients log in. Several get digest wrong (DAVx⁵, Windows 10); keep basic with TLS.",
    )
    caldav: bool = define(Flag(), True, area="Baïkal", meaning="Serve calendars.")
    carddav: bool = define(Flag(), True, area="Baïkal", meaning="Serve address books.")
    users: tuple[User, ...] = define(
        UsersValue(),
        (),
        area="Baïkal",
        meaning="Accounts with their calendars, address books and shares; see docs/users.md.",
        raw_default=[],
    )
    http_port: int = define(Number(1, 65535), 80, area="web", meaning="Port of plain HTTP.")
    https_port: int = define(Number(1, 65535), 443, area="web", meaning="Port of HTTPS.")
    base_path: str = define(
        Text("a path", rules.base_path, empty=True),
        "",
        area="web",
        meaning="Path that the server lives under, such as /calendars; empty for the root.",
    )
    trusted_proxies: tuple[str, ...] = define(
        Networks(),
        (),
        area="web",
        meaning="Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        raw_default=[],
    )
    admin_allow: tuple[str, ...] = define(
        Networks(),
        (),
        area="web",
        meaning="Networks that may reach /admin/; empty for all.",
        raw_default=[],
    )
    upload_limit_mb: int = define(
        Number(1, 2048, "MiB"), 100, area="web", meaning="Largest request, in MiB; address books with photos are large."
    )
    request_timeout_s: int = define(
        Number(10, 3600, "seconds"), 300, area="web", meaning="Longest that one request may take, in seconds."
    )
    tls: str = define(
        Choice("selfsigned", "files", "off"),
        "selfsigned",
        area="TLS",
        meaning="Where the certificate comes from; off serves plain HTTP, for a proxy that ends TLS in front.",
    )
    tls_certificate: str = define(
        Text("a path on the host", rules.host_path, empty=True),
        "",
        area="TLS",
        meaning='With tls = "files": path on the host of the certificate and its chain, PEM.',
    )
    tls_key: str = define(
        Text("a path on the host", rules.host_path, empty=True),
        "",
        area="TLS",
        meaning='With tls = "files": path on the host of the private key, PEM.',
    )
    batches: tuple[int | str, ...] = define(
        Batches(),
        (),
        area="fleet",
        meaning=(
            'How many hosts are deployed to at a time, such as [1, 10, "25%"]; the last size is repeated. '
            "Empty: all at once."
        ),
        raw_default=[],
        machine_only=True,
    )

    @classmethod
    def from_data(cls, data: Mapping[str, object], *, image: bool = False) -> Settings:
        """Return the settings in pyinfra's host data; raises :class:`SettingsError` with every fault.

        ``image`` is for a target that is no running machine: it needs neither a host name nor passwords. Secrets are
        references, read from this process's environment and disk.
        """
        faults: list[Fault] = []
        raw = {name: definition.raw_default for name, definition in DEFINITIONS.items()} | dict(data)
        if image:
            raw |= {"admin_password": None, "users": []}
        return cls._validated(raw, faults, os.environ, plain=False, complete=not image)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], file: Mapping[str, object] | None = None) -> Settings:
        """Return the settings of a container; raises :class:`SettingsError` with every fault.

        ``environ`` has ``BAIKAL_*`` variables and, for secrets, ``BAIKAL_*_FILE``; ``file`` is a parsed settings.toml,
        which the environment overrides and in which secrets may stand plain.
        """
        faults: list[Fault] = []
        raw: dict[str, object] = {
            name: None if definition.secret else definition.raw_default for name, definition in DEFINITIONS.items()
        }
        file = dict(file or {})
        of_image = {name for name, item in DEFINITIONS.items() if item.machine_only}
        # What a build calls BAIKAL_VERSION would be BAIKAL_BAIKAL_VERSION here; people try both.
        spelt = [name.upper() for name in of_image]
        variables = {PREFIX + part for name in spelt for part in (name, name.removeprefix(PREFIX))}
        for name in [name for name in file if name in of_image] + [name for name in environ if name in variables]:
            faults.append(Fault(name, "is decided when the image is made; choose an image with that release", ""))
            file.pop(name, None)
        raw |= file
        known = {PREFIX + name.upper(): name for name, item in DEFINITIONS.items() if not item.machine_only}
        unclear: list[str] = []
        for variable, text in environ.items():
            bare = variable.removesuffix("_FILE")
            if variable in known:
                _read_variable(known[variable], variable, text, environ, raw, faults)
            elif bare != variable and bare in known and DEFINITIONS[known[bare]].secret:
                raw[known[bare]] = {"file": text}
            elif variable.startswith(PREFIX) and variable not in variables and not is_of_others(variable, text):
                unclear.append(variable)
        elsewhere = set(referred(raw))
        faults += [
            Fault(variable, unknown(variable, known, PREFIX)) for variable in unclear if variable not in elsewhere
        ]
        return cls._validated(raw, faults, environ, plain=True, complete=True)

    @classmethod
    def _validated(
        cls, raw: Mapping[str, object], faults: list[Fault], environ: Mapping[str, str], *, plain: bool, complete: bool
    ) -> Settings:
        values: dict[str, Any] = {}
        for name, given in raw.items():
            definition = DEFINITIONS.get(name)
            if definition is None:
                faults.append(Fault(name, unknown(name, DEFINITIONS)))
            elif any(fault.setting == name for fault in faults):
                continue
            elif isinstance(definition.kind, UsersValue):
                values[name] = read_users(given, faults, environ, plain=plain)
            elif complete or not (definition.secret and given is None):
                try:
                    values[name] = _read(definition, given, environ, plain=plain)
                except ValueError as error:
                    faults.append(Fault(name, str(error), "" if definition.secret else describe(given)))
        wrong = {fault.setting for fault in faults}
        settings = cls(**{name: value for name, value in values.items() if name not in wrong})
        # A contradiction with what is wrong anyway would only be noise.
        for involved, fault in _contradictions(settings, complete=complete):
            if not wrong.intersection((fault.setting, *involved)):
                faults.append(fault)
        if faults:
            raise SettingsError(faults)
        return settings


def _read(definition: Definition, given: object, environ: Mapping[str, str], *, plain: bool) -> object:
    """Return ``given`` as the setting's kind reads it; raises ``ValueError`` with what is wrong and the remedy."""
    if not isinstance(definition.kind, SecretValue):
        return definition.kind.read(given)
    if given is None:
        message = "is missing; set it"
        raise ValueError(message)
    return definition.kind.resolve(given, environ, plain=plain)


def _read_variable(  # noqa: PLR0913, PLR0917 - the parts of one loop's body
    name: str, variable: str, text: str, environ: Mapping[str, str], raw: dict[str, object], faults: list[Fault]
) -> None:
    """Put into ``raw`` what the environment variable says, or into ``faults`` what is wrong with it."""
    kind = DEFINITIONS[name].kind
    if isinstance(kind, SecretValue):
        raw[name] = text
        if f"{variable}_FILE" in environ:
            faults.append(Fault(name, f"both {variable} and {variable}_FILE are set; keep one"))
        return
    try:
        raw[name] = json.loads(text) if isinstance(kind, UsersValue) else kind.read_text(text)
    except (ValueError, RecursionError) as error:
        # What was meant as accounts may hold passwords, so it isn't shown.
        users = isinstance(kind, UsersValue)
        problem = "is not JSON; write a list of tables" if users else str(error)
        faults.append(Fault(name, problem, "" if users else describe(text)))


def _contradictions(settings: Settings, *, complete: bool) -> Iterator[tuple[tuple[str, ...], Fault]]:
    """Yield each contradiction with the names of the other settings involved; ``complete`` ones need a host name."""
    if complete and not settings.hostname:
        yield (), Fault("hostname", 'is missing; give the name that clients type, such as "cal.example.org"')
    if settings.http_port == settings.https_port and settings.tls != "off":
        problem = "is http_port as well; give the two different ports"
        yield ("http_port", "tls"), Fault("https_port", problem, str(settings.https_port))
    for name in ("tls_certificate", "tls_key"):
        given = getattr(settings, name)
        if settings.tls == "files" and not given:
            yield ("tls",), Fault(name, 'is missing; tls = "files" needs both tls_certificate and tls_key')
        elif settings.tls != "files" and given:
            problem = f'has no effect with tls = "{settings.tls}"; set tls = "files" or take it away'
            yield ("tls",), Fault(name, problem, describe(given))
    if not settings.caldav and not settings.carddav:
        problem = "and caldav are both off, so nothing would be served; turn one on"
        yield ("caldav",), Fault("carddav", problem, "false")
    archive, remote = settings.baikal_archive, "://" in settings.baikal_archive
    unknown_release = settings.baikal_version not in KNOWN_RELEASES
    if unknown_release and not archive:
        problem = (
            f"is not known here ({', '.join(KNOWN_RELEASES)} are); give its zip with baikal_archive and its sha256"
        )
        yield ("baikal_archive",), Fault("baikal_version", problem, describe(settings.baikal_version))
    if remote and unknown_release and not settings.baikal_sha256:
        problem = "is missing; an address with a release that isn't known here needs it"
        yield ("baikal_version", "baikal_archive"), Fault("baikal_sha256", problem)
    if archive and not remote and settings.baikal_download == "host":
        problem = "can't be, as baikal_archive is a path on this machine; set it to here"
        yield ("baikal_archive",), Fault("baikal_download", problem, '"host"')


DEFINITIONS: dict[str, Definition] = {
    field.name: field.metadata["definition"] for field in dataclasses.fields(Settings)
}
"""Every setting by name, in the order in which people should read them."""
