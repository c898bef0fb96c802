"""Read a container's settings from its environment variables; variables of other programs are ignored."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from baikalctl.errors import Fault, unknown_name
from baikalctl.settings.users import UsersValue
from baikalctl.settings.value_types import SecretValue, describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from baikalctl.settings.fields import Definition


PREFIX = "BAIKAL_"
OTHER_PROGRAMS = re.compile(
    r"BAIKAL_(PATH_|(\w+_)?SERVICE_(HOST|PORT)|(\w+_)?PORT(_\w+)?=(tcp|udp|sctp)://|(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_)"
)
"""Variables with our prefix that aren't settings: Baïkal's own, and those that Kubernetes sets for a service baikal."""


def read_environment(
    environ: Mapping[str, str],
    file: Mapping[str, object],
    definitions: Mapping[str, Definition],
    faults: list[Fault],
) -> dict[str, object]:
    """Return the defaults, overridden by ``file`` and then by ``environ``. Errors are added to ``faults``.

    The values aren't validated yet. The default of a secret is for machines, so a container has none.
    """
    raw: dict[str, object] = {name: None if item.secret else item.raw_default for name, item in definitions.items()}
    of_image = {name for name, item in definitions.items() if item.machine_only}
    # The build argument is BAIKAL_VERSION, the setting would be BAIKAL_BAIKAL_VERSION; users try both.
    spelt = [name.upper() for name in of_image]
    variables = {PREFIX + part for name in spelt for part in (name, name.removeprefix(PREFIX))}
    misplaced = [name for name in file if name in of_image] + [name for name in environ if name in variables]
    faults += [Fault(name, "is decided when the image is built; use an image with that release") for name in misplaced]
    raw |= {name: value for name, value in file.items() if name not in of_image}
    known = {PREFIX + name.upper(): name for name in definitions if name not in of_image}
    unclear: list[str] = []
    for variable, text in environ.items():
        bare = variable.removesuffix("_FILE")
        if variable in known:
            name = known[variable]
            try:
                raw[name] = _read_variable(definitions[name], variable, text, environ)
            except ValueError as error:
                faults.append(Fault(name, str(error), "" if definitions[name].confidential else describe(text)))
        elif bare != variable and bare in known and definitions[known[bare]].secret:
            raw[known[bare]] = {"file": text}
        elif variable.startswith(PREFIX) and variable not in variables and not is_other_program(variable, text):
            unclear.append(variable)
    elsewhere = set(referred(raw))
    faults += [
        Fault(variable, unknown_name(variable, known, PREFIX)) for variable in unclear if variable not in elsewhere
    ]
    return raw


def _read_variable(definition: Definition, variable: str, text: str, environ: Mapping[str, str]) -> object:
    """Return the value of an environment variable; raises ``ValueError`` with the problem and the remedy."""
    if isinstance(definition.kind, SecretValue):
        if f"{variable}_FILE" in environ:
            raise ValueError(f"both {variable} and {variable}_FILE are set; remove one")
        return text
    if isinstance(definition.kind, UsersValue):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("is not JSON; write a list of objects") from None
    return definition.kind.read_text(text)


def plain_secrets(environ: Mapping[str, str], definitions: Mapping[str, Definition]) -> dict[str, str]:
    """Return the variables whose value is a secret, each with what to set instead."""
    replacements = {}
    for name, definition in definitions.items():
        variable = PREFIX + name.upper()
        value = environ.get(variable, "")
        if value and definition.secret:
            replacements[variable] = f"{variable}_FILE"
        elif isinstance(definition.kind, UsersValue) and re.search(r'"password"\s*:\s*"', value):
            replacements[variable] = f'{{"file": "…"}} for each password in {variable}'
    return replacements


def is_other_program(variable: str, text: str) -> bool:
    """Tell whether a variable with this text belongs to another program, and so isn't a misspelt setting."""
    return bool(OTHER_PROGRAMS.match(f"{variable}={text}"))


def referred(raw: object) -> Iterator[str]:
    """Yield the environment variables that secrets anywhere in ``raw`` refer to."""
    if isinstance(raw, dict):
        if list(raw) == ["env"] and isinstance(raw["env"], str):
            yield raw["env"]
        raw = list(raw.values())
    for inner in raw if isinstance(raw, list) else ():
        yield from referred(inner)
