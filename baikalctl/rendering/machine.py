"""All files of a machine, from its settings and its platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.desired.build import desired_state
from baikalctl.rendering.baikalctl import data_directories, program
from baikalctl.rendering.model import (
    UNITS,
    Directory,
    File,
    FileSet,
    Platform,
    Service,
    _service,
    _units,
    asking,
    timers,
)
from baikalctl.rendering.templates import Place, texts

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings


def render(settings: Settings, platform: Platform) -> FileSet:
    """Return everything that a running machine has: the tools, the declared state, and the services' files."""
    from baikalctl.rendering import database, mail

    php = f"php{platform.php}-fpm"
    mail_units = mail.units(settings, platform)
    database_units = database.units(settings, platform)
    declared = desired_state(settings, (*database_units, php, "nginx", *mail_units, *timers(settings)))
    # Of this PHP alone: after an upgrade of the distribution, the old one may still be there and hold its own.
    place = Place(socket=f"/run/php/baikal-{platform.php}.sock", access_log="/var/log/nginx/access.log")
    text = texts(settings, platform, declared, place)
    base = program()
    configuration = f"/etc/php/{platform.php}/fpm"
    units = tuple(_units(settings, text, php))
    files = (
        File(path=paths.DECLARED, content=declared.to_json().encode(), mode=0o600, together=True),
        File(
            path=f"{configuration}/pool.d/baikal.conf",
            content=text("etc/php/fpm/pool.d/baikal.conf"),
            service="php",
        ),
        File(
            path=f"{configuration}/conf.d/99-baikal.ini",
            content=text("etc/php/fpm/conf.d/99-baikal.ini"),
            service="php",
        ),
        File(path=paths.SITE, content=text("etc/nginx/conf.d/baikal.conf"), service="nginx"),
        *asking(settings, text),
        *units,
        *mail.files(settings, text),
        *database.secrets(settings),
        *database.server(settings, platform, text),
    )
    return FileSet(
        directories=(
            Directory(path="/etc/baikal", mode=0o700),
            *data_directories(),
            *mail.directories(settings),
            Directory(path=f"{UNITS}/{php}.service.d"),
            *base.directories,
        ),
        files=(*base.files, *files),
        # In the order in which they start: nginx needs PHP's socket.
        services=(
            *database.services(database_units, files),
            _service("php", php, f"/usr/sbin/php-fpm{platform.php} -t", files),
            Service(name="nginx", unit="nginx", check=("/usr/sbin/nginx", "-t", "-q"), reads=declared.read_by_nginx()),
            *mail.services(mail_units, declared, files),
            *(_service(unit, unit, "/usr/bin/systemctl daemon-reload", units) for unit in timers(settings)),
        ),
        displaced=(("/etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default"),),
    )
