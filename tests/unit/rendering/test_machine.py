"""The files of a machine, and their content."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from baikalctl import paths
from baikalctl.desired.state import REALM, DesiredState
from baikalctl.errors import HostError, SettingsError
from baikalctl.rendering import templates
from baikalctl.rendering.baikal import program
from baikalctl.rendering.container import render_contained
from baikalctl.rendering.machine import render
from baikalctl.rendering.model import FileSet, Platform
from baikalctl.rendering.php import memory_limit_mb, workers
from tests.unit.samples import HOME, LETSENCRYPT, PASSWORD, PLATFORM, declared, settings, user

NGINX = "/etc/nginx/conf.d/baikal.conf"
POOL = "/etc/php/8.2/fpm/pool.d/baikal.conf"
UNITS = "/etc/systemd/system"
CERTBOT = "/etc/baikal/certbot.ini"
INI = "/etc/php/8.2/fpm/conf.d/99-baikal.ini"
FILES: dict[str, object] = {"tls": "files", "tls_certificate": "/etc/ssl/cal.pem", "tls_key": "/etc/ssl/cal.key"}
SOME_SETTINGS: dict[str, dict[str, object]] = {
    "defaults": {},
    "no TLS": {"tls": "off"},
    "own certificate": FILES,
    "another port": {"http_port": 8080, "https_port": 8443},
    "a path": {"base_path": "/cal"},
    "Let's Encrypt": LETSENCRYPT | {"hostnames": ["dav.example.org"]},
    "proxies": {"trusted_proxies": ["10.0.0.0/8", "fd00::/8"]},
    "closed admin pages": {"admin_allow": ["192.0.2.0/24"]},
    "everything": FILES
    | {
        "hostnames": ["kalender.example.org"],
        "base_path": "/a/b",
        "trusted_proxies": ["10.0.0.1"],
        "admin_allow": ["::1"],
        "caldav": False,
    },
    "accounts": {"users": [user("Corey", password="hunter2-hunter2")]},
}
SOME_PLATFORMS = {
    "Debian 12": PLATFORM,
    "Debian 13": Platform(php="8.4", nginx=(1, 26, 3), cores=64, memory_mb=65536, ipv6=False),
}


def text(path: str = NGINX, where: Platform = PLATFORM, /, **changed: object) -> str:
    """Return the content of one file of a host."""
    return _contents(where, json.dumps(changed))[path]


@functools.cache
def _contents(where: Platform, changed: str) -> dict[str, str]:
    return {file.path: file.content.decode() for file in render(settings(**json.loads(changed)), where).files}


def platform(**changed: object) -> Platform:
    """Return Debian 12's platform with something ``changed``."""
    return dataclasses.replace(PLATFORM, **changed)  # type: ignore[arg-type]


def lines(content: str) -> list[str]:
    """Return the lines of a configuration, without indentation, comments and empty lines."""
    return [line.strip() for line in content.splitlines() if line.strip() and not line.strip().startswith(("#", ";"))]


def locations(content: str) -> list[tuple[str, str, list[str]]]:
    """Return kind, pattern and lines of every location of the server that serves Baïkal, in their order."""
    site = content[content.rindex("server {") :]
    pattern = r"^ {4}location (?:(=|~) )?(\S+) \{\n(.*?)^ {4}\}"
    heads = re.finditer(pattern, site, re.DOTALL | re.MULTILINE)
    return [(head[1] or "", head[2].replace("(?<", "(?P<"), lines(head[3])) for head in heads]


def route(content: str, path: str) -> list[str]:
    """Return the lines of the location that nginx chooses for ``path``, with its captures: exact, then regex, then prefix."""
    every = locations(content)
    for kind, pattern, body in every:
        if kind == "=" and pattern == path:
            return body
    for kind, pattern, body in every:
        if kind == "~" and (match := re.search(pattern, path)):
            captured = {f"${name}": value or "" for name, value in match.groupdict().items()}
            return ["".join(captured.get(word, word) for word in re.split(r"(\$\w+)", line)) for line in body]
    (body,) = [body for kind, pattern, body in every if not kind and path.startswith(pattern)]
    return body


def mapped(content: str, variable: str, value: str) -> str:
    """Return the result of nginx's map of that name for ``value``; other variables aren't replaced."""
    (block,) = re.findall(rf"^map [^\n]+ \${variable} {{\n(.*?)^}}", content, re.DOTALL | re.MULTILINE)
    pairs = [shlex.split(line.removesuffix(";").replace("\\", "\\\\")) for line in lines(block)]
    for pattern, result in pairs:
        flags = re.IGNORECASE if pattern.startswith("~*") else 0
        if pattern == value or (pattern.startswith("~") and re.search(pattern.lstrip("~*"), value, flags)):
            return result
    return dict(pairs)["default"]


def script(body: list[str]) -> str:
    """Return the PHP script that a location's lines run."""
    (line,) = [line for line in body if "SCRIPT_FILENAME" in line]
    return line.removeprefix("fastcgi_param SCRIPT_FILENAME $realpath_root/").removesuffix(";")


@pytest.mark.parametrize("base", ["", "/cal", "/a/b_c-d"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dav.php", "dav.php"),
        ("/dav.php/", "dav.php"),
        ("/dav.php/calendars/Corey/a.php.ics", "dav.php"),
        ("/dav.php/calendars/Specific/config-review/.htaccess", "dav.php"),
        ("/dav.php/addressbooks/jo/default/index.php", "dav.php"),
        ("/dav.php/calendars/a@b.example/x/admin/install/", "dav.php"),
        ("/dav.php/calendars/jürgen/res/a.css", "dav.php"),
        ("/cal.php/principals/jo/", "cal.php"),
        ("/card.php/addressbooks/jo/", "card.php"),
    ],
)
def test_dav_url_runs_its_script(base: str, path: str, expected: str) -> None:
    """Users called Corey and objects called a.php.ics are valid; the usual nginx snippet fails for both."""
    assert script(route(text(base_path=base), base + path)) == expected


@pytest.mark.parametrize("base", ["", "/cal", "/a/b"])
@pytest.mark.parametrize(
    ("sent", "accepted"),
    [
        ("/dav.php", True),
        ("//dav.php/", True),
        ("/card.php/", True),
        ("/cal.php/calendars/jo/a%2fb/c%20d.ics?export", True),
        ("/dav.php%2f", False),
        ("/cal.php%2Fcalendars", False),
        ("/dav.php?x", False),
        ("///dav.php/", False),
        ("/x/../dav.php/", False),
    ],
)
def test_url_that_sabre_dav_would_answer_with_500_is_404(base: str, sent: str, *, accepted: bool) -> None:
    """sabre/dav compares the URL as it was sent with its own; nginx uses the decoded one."""
    body = route(text(base_path=base), f"{base}/dav.php/")
    (accepted_form,) = [
        re.fullmatch(r'if \(\$request_uri !~ "(.+)"\) {', line) for line in body if "$request_uri !~" in line
    ]
    assert accepted_form
    assert bool(re.search(accepted_form[1], base + sent)) is accepted
    assert body[body.index(accepted_form[0]) + 1] == "return 404;"


FORGED = (
    ("POST  application/x-www-form-urlencoded", True),
    ("POST same-origin application/x-www-form-urlencoded", True),
    ("POST cross-site Multipart/Form-Data; boundary=x", True),
    ("POST none text/plain;charset=UTF-8", True),
    ("POST  text/calendar; charset=utf-8", False),
    ("POST same-site text/calendar", False),
    ("POST  application/xml", False),
    ("POST  ", False),
    ("POST cross-site text/calendar", True),
    ("PUT cross-site text/calendar", True),
    ("DELETE cross-site ", True),
    ("MKCALENDAR cross-site text/xml", True),
    ("DELETE same-site ", False),
    ("PUT  text/plain", False),
    ("GET cross-site ", False),
    ("HEAD cross-site ", False),
    ("OPTIONS cross-site ", False),
    ("PROPFIND cross-site application/xml", False),
    ("REPORT cross-site application/xml", False),
)


@pytest.mark.parametrize(("request_", "forged"), FORGED)
def test_request_that_another_site_can_forge_is_refused(request_: str, *, forged: bool) -> None:
    """By method, Sec-Fetch-Site and Content-Type: forms, and changes from another site."""
    assert mapped(text(), "baikal_forged", request_) == ("1" if forged else "")
    body = route(text(), "/card.php/")
    assert body[body.index("if ($baikal_forged) {") + 1] == "return 403;"


@pytest.mark.parametrize("base", ["", "/cal"])
@pytest.mark.parametrize(
    "path",
    [
        "/dav.phpx",
        "/dav.php.bak",
        "/davxphp",
        "/xdav.php",
        "/x/dav.php",
        "/html/dav.php",
        "/index.php/x",
        "/Core/Distrib.php",
        "/Specific/db/db.sqlite",
        "/config/baikal.yaml",
        "/vendor/autoload.php",
        "/.htaccess",
        "/.git/config",
        "/composer.json",
        "/admin/install",
        "/admin/install/",
        "/admin/install/index.php",
        "/admin/index.php/install/",
        "/admin/x",
        "/res/x.php",
        "/res/.htaccess",
        "/res/core/",
        "/resx/a.css",
        "/x/res/a.css",
        "/.well-known/acme-challenge/x",
        "/.well-known/caldav/x",
        "/phpinfo.php",
        "/server-status",
    ],
)
def test_other_urls_are_404(base: str, path: str) -> None:
    """Code, data, the installer and all URLs that aren't listed."""
    assert route(text(base_path=base), base + path) == ["return 404;"]


@pytest.mark.parametrize("base", ["", "/cal"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/admin", "return 308 {base}/admin/;"),
        ("/admin/index.php", "return 308 {base}/admin/$is_args$args;"),
        ("/index.php", "return 308 {base}/$is_args$args;"),
    ],
)
def test_other_spellings_of_a_page_redirect_to_it(base: str, path: str, expected: str) -> None:
    """Each page has one URL. Redirects keep the method and the query."""
    assert route(text(base_path=base), base + path) == [expected.format(base=base)]


@pytest.mark.parametrize("base", ["", "/cal"])
@pytest.mark.parametrize("path", ["/.well-known/caldav", "/.well-known/carddav", "/.well-known/caldav/"])
def test_well_known_urls_redirect_to_dav(base: str, path: str) -> None:
    """RFC 6764's URLs are at the root with any base path, and the redirect is relative."""
    content = text(base_path=base)
    assert route(content, path) == [f"return 308 {base}/dav.php/;"]
    assert "absolute_redirect off;" in lines(content)


def test_pages_run_their_scripts() -> None:
    """The front page and the admin page are one script each."""
    assert script(route(text(), "/")) == "index.php"
    assert script(route(text(), "/admin/")) == "admin/index.php"
    assert script(route(text(base_path="/cal"), "/cal/")) == "index.php"
    assert script(route(text(base_path="/cal"), "/cal/admin/")) == "admin/index.php"


@pytest.mark.parametrize(("base", "path"), [("", "/"), ("/cal", "/"), ("/cal", "/cal/")])
def test_propfind_on_the_root_redirects_to_dav(base: str, path: str) -> None:
    """Apple's clients start there."""
    body = route(text(base_path=base), path)
    assert body[:3] == ["if ($request_method = PROPFIND) {", f"return 308 {base}/dav.php/;", "}"]


def test_root_redirects_to_the_base_path() -> None:
    """A user who types only the host name gets to the page."""
    content = text(base_path="/cal")
    assert route(content, "/")[-1] == "return 302 /cal/;"
    assert route(content, "/cal") == ["return 308 /cal/;"]


def test_style_sheets_are_served_only_from_their_directory() -> None:
    """Static files have one root, from which no script can be read."""
    body = route(text(), "/res/core/Baikal/style.css")
    assert f"root {paths.CURRENT}/html/res;" in body
    assert "try_files /core/Baikal/style.css =404;" in body
    assert not [line for line in body if "fastcgi" in line]


@pytest.mark.parametrize("base", ["", "/cal"])
def test_scripts_get_the_url_that_clients_use(base: str) -> None:
    """Baïkal reads its base path from SCRIPT_NAME, and host and scheme from nginx, never from the client."""
    for path in ("/", "/admin/", "/dav.php/x"):
        body = route(text(base_path=base), base + path)
        assert f"fastcgi_param SCRIPT_NAME {base}/{script(body)};" in body
        assert "fastcgi_param HTTP_HOST $baikal_host;" in body
        assert "fastcgi_param HTTP_X_FORWARDED_PROTO $baikal_scheme;" in body
        assert 'fastcgi_param HTTP_PROXY "";' in body
        assert "fastcgi_pass unix:/run/php/baikal-8.2.sock;" in body


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("cal.example.org", True),
        ("cal.example.org:8443", True),
        ("CAL.example.org", True),
        ("calxexample.org", False),
        ("cal.example.org.evil.example", False),
        ("evil.example", False),
        ("cal.example.org:80/x", False),
        ("cal.example.org:123456", False),
        ("", False),
    ],
)
def test_only_the_port_of_the_host_header_is_used(header: str, *, taken: bool) -> None:
    """An unknown name in it is never part of a URL that Baïkal builds."""
    (pattern,) = re.findall(r'"~\*(.+)" \$http_host;', text())
    assert bool(re.search(pattern, header, re.IGNORECASE)) == taken


NAMES: dict[str, object] = {"hostnames": ["dav.example.org", "kalender.example.org"]}


@pytest.mark.parametrize(
    ("header", "host", "name"),
    [
        ("cal.example.org", "$http_host", "cal.example.org"),
        ("dav.example.org", "$http_host", "dav.example.org"),
        ("kalender.example.org", "$http_host", "kalender.example.org"),
        ("dav.example.org.evil.example", "cal.example.org:8443", "cal.example.org"),
        ("davxexample.org", "cal.example.org:8443", "cal.example.org"),
        ("evil-dav.example.org", "cal.example.org:8443", "cal.example.org"),
        ("evil.example", "cal.example.org:8443", "cal.example.org"),
    ],
)
def test_requested_name_is_used_if_it_is_one_of_the_names(header: str, host: str, name: str) -> None:
    """In URLs that Baïkal builds, with the client's port, and in redirects of HTTP. Other names become the first one."""
    content = text(https_port=8443, **NAMES)
    assert mapped(content, "baikal_host", header) == host
    assert mapped(content, "baikal_host", f"{header}:1") == host
    assert mapped(content, "baikal_name", header) == name
    assert content.count("server_name cal.example.org dav.example.org kalender.example.org;") == 2


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "cal.example.org"),
        ({"https_port": 8443}, "cal.example.org:8443"),
        ({"tls": "off"}, "cal.example.org"),
        ({"tls": "off", "http_port": 8080}, "cal.example.org:8080"),
    ],
)
def test_url_has_the_main_name_without_a_valid_host_header(changed: dict[str, object], name: str) -> None:
    """With the port if it isn't the default."""
    assert f'default "{name}";' in lines(text(**changed))


def test_headers_of_undeclared_proxies_are_ignored() -> None:
    """They change neither scheme nor address."""
    content = text()
    assert "set_real_ip_from" not in content
    assert "real_ip_header" not in content
    assert re.search(r"geo \$realip_remote_addr \$baikal_proxy \{\n    default 0;\n\}", content)


def test_headers_of_declared_proxies_are_used() -> None:
    """Logs have the client's address, and the scheme is used. The header is configured once."""
    content = lines(text(trusted_proxies=["10.0.0.0/8", "fd00::/8"]))
    assert content.count("real_ip_header X-Forwarded-For;") == 1
    for network in ("10.0.0.0/8", "fd00::/8"):
        assert f"{network} 1;" in content
        assert f"set_real_ip_from {network};" in content


def test_admin_pages_are_open_without_declared_networks() -> None:
    """No network is denied."""
    assert not re.search(r"\b(allow|deny)\b", "\n".join(lines(text())))


@pytest.mark.parametrize("base", ["", "/cal"])
def test_admin_pages_are_open_for_declared_networks_only(base: str) -> None:
    """Each is allowed, then all others are denied; other pages aren't affected."""
    content = text(base_path=base, admin_allow=["192.0.2.0/24", "fd00::/8"])
    assert route(content, f"{base}/admin/")[:3] == ["allow 192.0.2.0/24;", "allow fd00::/8;", "deny all;"]
    assert content.count("deny all;") == 1


@pytest.mark.parametrize("changed", [{}, LETSENCRYPT, FILES])
def test_certificate_is_one_file_with_every_kind_of_tls(changed: dict[str, object]) -> None:
    """Chain and key change together in it. The file with directives is optional."""
    served = declared(**changed).served
    assert served.startswith(f"{paths.TLS}/")
    content = lines(text(**changed))
    assert f"ssl_certificate {served}.pem;" in content
    assert f"ssl_certificate_key {served}.pem;" in content
    (pattern,) = [line.removeprefix("include ").rstrip(";") for line in content if line.startswith("include ")]
    assert pattern != f"{served}.conf", "a file that must be there"
    assert fnmatch.filter([f"{served}.{end}" for end in ("conf", "cconf", "pem", "conf.new")], pattern) == [
        f"{served}.conf"
    ]


def test_ciphers_have_forward_secrecy_and_no_dhe() -> None:
    """DHE costs the server far more time than the client; TLS 1.3 would have it among the curves."""
    (ciphers,) = re.findall(r"^ssl_ciphers (.+);$", "\n".join(lines(text())), re.MULTILINE)
    assert [name for name in ciphers.split(":") if not re.match(r"ECDHE-.+(-GCM-SHA\d+|-POLY1305)$", name)] == []
    assert "ssl_ecdh_curve X25519:prime256v1:secp384r1;" in lines(text())


@pytest.mark.parametrize("changed", [LETSENCRYPT, LETSENCRYPT | {"base_path": "/cal"}])
def test_challenges_of_the_ca_are_served_over_http(changed: dict[str, object]) -> None:
    """Files named by a token, below the webroot. All other URLs redirect to HTTPS."""
    content = text(**changed)
    plain = content[content.index("server {") : content.rindex("server {")]
    (folder,) = re.findall(r"location \^~ (\S+) \{\n(.*?)^ {4}\}", plain, re.DOTALL | re.MULTILINE)
    assert folder[0] == "/.well-known/acme-challenge/"
    ((pattern, body),) = re.findall(r'location ~ "(\S+)" \{(.*?)\}\n', folder[1], re.DOTALL)
    assert f"root {paths.CHALLENGES};" in lines(body)
    assert "return 404;" in lines(folder[1])
    assert re.search(pattern, f"{folder[0]}evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA")
    for name in ("", "..", "a.txt", "a/b", "a/", ".a", "a%2fb"):
        assert not re.search(pattern, folder[0] + name)
    assert "return 308 https://$baikal_name$request_uri;" in lines(plain)


@pytest.mark.parametrize("changed", [{}, FILES, {"tls": "off"}])
def test_challenges_are_not_served_without_letsencrypt(changed: dict[str, object]) -> None:
    """With another certificate, or none, there is no webroot."""
    assert "acme" not in text(**changed)
    assert paths.CHALLENGES not in text(**changed)


@pytest.mark.parametrize("base", ["", "/cal"])
def test_only_pages_of_baikal_may_load_resources(base: str) -> None:
    """Scripts and forms from the server's own URL. All other answers may load nothing."""
    content = text(base_path=base)
    for path in ("/", "/admin/"):
        policy = mapped(content, "baikal_page_policy", base + path)
        assert policy.startswith("default-src 'none'; script-src 'self' $baikal_scheme://$baikal_host 'unsafe-inline';")
        assert policy.endswith("frame-ancestors 'none'")
    for path in ("/dav.php/", "/admin/x", "/res/a.css", "/x/admin/"):
        closed = "default-src 'none'; frame-ancestors 'none'"
        assert mapped(content, "baikal_page_policy", base + path) == closed


def test_policy_of_sabre_dav_is_not_changed() -> None:
    """Two policies would both apply."""
    assert mapped(text(), "baikal_policy", "default-src 'none'; img-src 'self';") == ""
    assert mapped(text(), "baikal_policy", "") == "$baikal_page_policy"


@pytest.mark.parametrize("changed", SOME_SETTINGS.values(), ids=SOME_SETTINGS)
def test_locations_have_no_add_header(changed: dict[str, object]) -> None:
    """One add_header in a location would remove all of the server's headers there."""
    content = text(**changed)
    assert not [body for _, _, body in locations(content) if any("add_header" in line for line in body)]
    added = [line for line in lines(content) if line.startswith("add_header ")]
    assert len(added) == 6
    assert all(line.endswith(" always;") for line in added), "errors have them as well"


def test_trusted_certificate_has_hsts_and_stapling() -> None:
    """HSTS for this name only, also on errors; the responder's answer is verified."""
    hsts, stapling = (lines((HOME / f"templates{paths.TLS}/{name}.conf").read_text()) for name in ("hsts", "stapling"))
    assert hsts == ['add_header Strict-Transport-Security "max-age=63072000" always;']
    assert {"ssl_stapling on;", "ssl_stapling_verify on;"} < set(stapling)


def test_server_without_tls_has_no_redirect() -> None:
    """There is one server, without TLS directives."""
    content = text(tls="off", http_port=8080)
    assert content.count("server {") == 1
    assert not re.search(r"\bssl|http2|308 https|Strict-Transport", "\n".join(lines(content)))
    assert "listen 8080 default_server;" in lines(content)


@pytest.mark.parametrize(
    ("changed", "target"),
    [
        ({}, "https://$baikal_name$request_uri"),
        ({"https_port": 8443}, "https://$baikal_name:8443$request_uri"),
        ({"https_port": 80, "http_port": 443}, "https://$baikal_name:80$request_uri"),
    ],
)
def test_http_redirects_to_https_with_its_port(changed: dict[str, object], target: str) -> None:
    """The redirect keeps method and path, and has the port if it isn't 443."""
    content = text(**changed)
    assert f"return 308 {target};" in lines(content)
    assert mapped(content, "baikal_name", "cal.example.org") == "cal.example.org"


@pytest.mark.parametrize(
    ("version", "listen", "separate"),
    [
        ((1, 22, 1), "listen 443 ssl http2 default_server;", False),
        ((1, 25, 0), "listen 443 ssl http2 default_server;", False),
        ((1, 25, 1), "listen 443 ssl default_server;", True),
        ((1, 26, 3), "listen 443 ssl default_server;", True),
    ],
)
def test_http2_has_the_syntax_of_the_nginx_version(
    version: tuple[int, int, int], listen: str, *, separate: bool
) -> None:
    """Since 1.25.1 the parameter of listen is deprecated; before, there was no directive."""
    content = lines(text(NGINX, platform(nginx=version)))
    assert listen in content
    assert ("http2 on;" in content) == separate


def test_both_servers_listen_on_ipv6() -> None:
    """If the host has IPv6."""
    content = lines(text())
    assert "listen [::]:80 default_server;" in content
    assert "listen [::]:443 ssl http2 default_server;" in content


@pytest.mark.parametrize("changed", [{}, {"tls": "off"}])
def test_no_server_listens_on_ipv6_without_ipv6(changed: dict[str, object]) -> None:
    """Nginx wouldn't start on such a kernel."""
    assert "[::]" not in text(NGINX, platform(ipv6=False), **changed)


def test_nginx_and_php_have_the_declared_limits() -> None:
    """With different limits, the smaller one would apply silently."""
    changed: dict[str, object] = {"upload_limit_mb": 7, "request_timeout_s": 77}
    web, pool = lines(text(**changed)), lines(text(POOL, **changed))
    assert "client_max_body_size 7m;" in web
    assert "fastcgi_read_timeout 77s;" in web
    for line in ("[post_max_size] = 7M", "[upload_max_filesize] = 7M", "[max_execution_time] = 77"):
        assert f"php_admin_value{line}" in pool
    assert "request_terminate_timeout = 77s" in pool


def test_data_is_outside_of_the_code() -> None:
    """Baïkal needs the trailing slashes."""
    pool = lines(text(POOL))
    assert f"env[BAIKAL_PATH_CONFIG] = {paths.CONFIG}/" in pool
    assert f"env[BAIKAL_PATH_SPECIFIC] = {paths.SPECIFIC}/" in pool
    assert f"php_admin_value[auto_prepend_file] = {paths.PREPEND}" in pool


def test_pool_has_the_computed_number_of_workers_and_memory_limit() -> None:
    """From cores and memory."""
    pool = lines(text(POOL, platform(cores=3, memory_mb=1200)))
    assert "pm.max_children = 6" in pool
    assert "php_admin_value[memory_limit] = 128M" in pool


@pytest.mark.parametrize(
    ("cores", "memory_mb", "expected"),
    [(1, 512, 2), (2, 0, 2), (4, 4096, 8), (8, 512, 5), (64, 65536, 12), (6, 1152, 12), (12, 1151, 11), (1, 65536, 2)],
)
def test_workers_are_twice_the_cores_if_memory_allows(cores: int, memory_mb: int, expected: int) -> None:
    """At least two, at most twelve, and 96 MiB for each."""
    assert workers(platform(cores=cores, memory_mb=memory_mb)) == expected


@pytest.mark.parametrize(
    ("cores", "memory_mb", "expected"),
    [(1, 256, 128), (2, 0, 128), (1, 1024, 256), (2, 4096, 512), (4, 4096, 256), (64, 65536, 512), (2, 1032, 129)],
)
def test_workers_share_half_the_memory(cores: int, memory_mb: int, expected: int) -> None:
    """At least PHP's own 128 MiB each, at most 512."""
    assert memory_limit_mb(platform(cores=cores, memory_mb=memory_mb)) == expected


@pytest.mark.parametrize("where", SOME_PLATFORMS.values(), ids=SOME_PLATFORMS)
@pytest.mark.parametrize("changed", SOME_SETTINGS.values(), ids=SOME_SETTINGS)
def test_files_are_complete_with_every_kind_of_settings(changed: dict[str, object], where: Platform) -> None:
    """Braces are balanced, no template marks are left, and no nginx directive lacks its end."""
    files = {file.path: file.content.decode() for file in render(settings(**changed), where).files}
    for path, content in files.items():
        if path.startswith("/etc/"):
            assert "{{" not in content
            assert "{%" not in content
            assert "None" not in content
            assert content.endswith("\n")
    assert files[NGINX].count("{") == files[NGINX].count("}")
    directives = [line for line in lines(files[NGINX]) if not line.endswith(("{", "}"))]
    assert [line for line in directives if not line.endswith(";")] == []


@pytest.mark.parametrize("changed", SOME_SETTINGS.values(), ids=SOME_SETTINGS)
def test_no_file_has_a_password(changed: dict[str, object]) -> None:
    """Hosts get hashes, in one file that only root can read."""
    every = render(settings(**changed), PLATFORM)
    digests = [user.digest for user in _declared(every).users] + [_declared(every).admin_hash]
    for file in every.files:
        assert PASSWORD.encode() not in file.content
        assert b"hunter2" not in file.content
        if file.path != paths.DECLARED:
            assert not [digest for digest in digests if digest.encode() in file.content]
        else:
            assert (file.mode, file.owner, file.group) == (0o600, "root", "root")


def _declared(every: FileSet) -> DesiredState:
    (file,) = [file for file in every.files if file.path == paths.DECLARED]
    return DesiredState.from_json(file.content.decode())


EAB, DNS_KEY = "c2VjcmV0LWhtYWMta2V5", "dns_rfc2136_secret = geheim"
SECRETS: dict[str, object] = LETSENCRYPT | {
    "acme_eab_key_id": "kid-1",
    "acme_eab_hmac_key": EAB,
    "acme_dns_plugin": "rfc2136",
    "acme_dns_credentials": DNS_KEY,
}


@pytest.mark.parametrize("root", ["", paths.RUN], ids=["machine", "container"])
def test_only_root_can_read_the_secrets_for_the_ca(root: str) -> None:
    """Each secret is in one file that certbot reads, and that is uploaded with its configuration."""
    wanted = settings(**SECRETS)
    file_set = render_contained(wanted, PLATFORM, REALM) if root else render(wanted, PLATFORM)
    for secret, path in ((EAB, paths.CERTBOT), (DNS_KEY, paths.DNS_CREDENTIALS)):
        (file,) = [file for file in file_set.files if secret.encode() in file.content]
        assert (file.path, file.mode, file.together) == (root + path, 0o600, True)
    content = {file.path: file.content.decode() for file in file_set.files}
    assert content[root + paths.DNS_CREDENTIALS] == DNS_KEY + "\n"
    assert f"dns-rfc2136-credentials = {root}{paths.DNS_CREDENTIALS}" in lines(content[root + paths.CERTBOT])


@pytest.mark.parametrize("changed", [{}, FILES, {"tls": "off"}], ids=["self-signed", "files", "no TLS"])
def test_no_certbot_files_without_letsencrypt(changed: dict[str, object]) -> None:
    """Certbot isn't installed either."""
    written = {file.path for file in render(settings(**changed), PLATFORM).files}
    assert not written & {paths.CERTBOT, paths.DNS_CREDENTIALS}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ["authenticator = webroot", f"webroot-path = {paths.CHALLENGES}"]),
        ({"acme_dns_plugin": "rfc2136"}, ["authenticator = dns-rfc2136"]),
        (
            {"acme_dns_plugin": "rfc2136", "acme_dns_credentials": DNS_KEY, "acme_dns_propagation_s": 30},
            [
                *("authenticator = dns-rfc2136", f"dns-rfc2136-credentials = {paths.DNS_CREDENTIALS}"),
                "dns-rfc2136-propagation-seconds = 30",
            ],
        ),
        (
            {"acme_dns_hook": "/usr/local/bin/hook"},
            [
                *("authenticator = manual", "preferred-challenges = dns"),
                *("manual-auth-hook = /usr/local/bin/hook add", "manual-cleanup-hook = /usr/local/bin/hook remove"),
            ],
        ),
    ],
    ids=["HTTP-01", "plugin", "plugin with all", "hook"],
)
def test_certbot_uses_the_declared_challenge(changed: dict[str, object], expected: list[str]) -> None:
    """A file of the web server, a plugin, or the operator's own program."""
    content = lines(text(CERTBOT, **LETSENCRYPT | changed))
    assert content[content.index(next(line for line in content if line.startswith("authenticator"))) :] == expected
    assert "server = https://acme-v02.api.letsencrypt.org/directory" in content
    assert "email = ops@example.org" in content
    assert "eab" not in "\n".join(content)


def test_declared_json_is_rolled_back_with_the_configuration() -> None:
    """It is installed together with it."""
    assert [file.path for file in render(settings(), PLATFORM).files if file.together] == [paths.DECLARED]


def test_same_settings_give_the_same_bytes() -> None:
    """A second run changes nothing."""
    changed = {"users": [user("jo"), user("ann")], "trusted_proxies": ["10.0.0.0/8"]}
    assert render(settings(**changed), PLATFORM) == render(settings(**changed), PLATFORM)


def test_machine_has_all_files_of_an_image() -> None:
    """The program is the same everywhere."""
    machine = render(settings(), PLATFORM)
    assert set(program().directories) < set(machine.directories)
    assert set(program().files) < set(machine.files)


def test_php_files_are_in_the_directory_of_its_version() -> None:
    """Debian 13's PHP reads another directory than Debian 12's."""
    file_set = render(settings(), SOME_PLATFORMS["Debian 13"])
    assert {file.path for file in file_set.files if file.service == "php"} == {
        "/etc/php/8.4/fpm/pool.d/baikal.conf",
        "/etc/php/8.4/fpm/conf.d/99-baikal.ini",
    }
    assert [service.unit for service in file_set.services][:2] == ["php8.4-fpm", "nginx"]
    assert file_set.services[0].check[0] == "/usr/sbin/php-fpm8.4"


def test_service_lists_all_files_that_it_reads() -> None:
    """Its own files, and for the web server the certificate and its directives."""
    php, nginx, *_ = render(settings(**FILES), PLATFORM).services
    served = f"{paths.TLS}/files-cal.example.org"
    assert set(php.reads) == {POOL, INI}
    assert nginx.reads == (NGINX, f"{served}.pem", f"{served}.conf")
    assert render(settings(tls="off"), PLATFORM).services[1].reads == (NGINX,)


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({}, ["certificate", "backup"]),
        (LETSENCRYPT, ["certificate", "backup"]),
        (FILES, ["certificate", "backup"]),
        ({"tls": "off"}, ["backup"]),
        ({"backup": False}, ["certificate"]),
        ({"tls": "off", "backup": False}, []),
    ],
    ids=["self-signed", "Let's Encrypt", "files", "no TLS", "no backup", "neither"],
)
def test_timers_are_services_of_the_machine(changed: dict[str, object], names: list[str]) -> None:
    """Each unit starts at boot, is read again when its file changes, and is checked by `baikalctl check`."""
    file_set = render(settings(**changed), PLATFORM)
    units = [f"baikal-{name}.timer" for name in names]
    assert [service.unit for service in file_set.services][2:] == units
    assert list(_declared(file_set).services)[2:] == units
    written = sorted(file.path for file in file_set.files if file.path.startswith(UNITS))
    called = [f"baikal-{name}.service" for name in names]
    # PHP's unit rolls back after a power failure, with or without timers.
    assert written == sorted(f"{UNITS}/{unit}" for unit in (*units, *called, "php8.2-fpm.service.d/baikal.conf"))
    assert {path for service in file_set.services for path in service.reads} >= set(written)
    assert {service.check for service in file_set.services[2:]} <= {("/usr/bin/systemctl", "daemon-reload")}


def test_certificate_timer_runs_an_existing_command() -> None:
    """By its path on the host; it also runs soon after files are replaced."""
    service = lines(text(f"{UNITS}/baikal-certificate.service"))
    assert f"ExecStart={paths.COMMAND} certificate --quiet" in service
    for changed, pace, spread in (({}, "*:0/10", "10min"), (FILES, "minutely", "1min")):
        timer = lines(text(f"{UNITS}/baikal-certificate.timer", **changed))
        assert {f"OnCalendar={pace}", f"RandomizedDelaySec={spread}", "FixedRandomDelay=yes"} <= set(timer)


@pytest.mark.parametrize(
    ("changed", "times"),
    [
        ({}, "*-*-* 03:15:00 UTC"),
        ({"backup_schedule": "hourly"}, "hourly"),
        ({"backup_schedule": "23:05", "timezone": "Europe/Berlin"}, "*-*-* 23:05:00 Europe/Berlin"),
    ],
)
def test_backup_timer_has_the_declared_time(changed: dict[str, object], times: str) -> None:
    """In the server's time zone, and later if the machine was off. Its command exists."""
    assert {f"OnCalendar={times}", "Persistent=true"} <= set(lines(text(f"{UNITS}/baikal-backup.timer", **changed)))
    assert f"ExecStart={paths.COMMAND} backup --quiet" in lines(text(f"{UNITS}/baikal-backup.service"))


def test_only_root_can_write_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code and configuration belong to root; only the data's directories belong to the service."""
    monkeypatch.setattr(paths, "USER", "baikal")
    file_set = render(settings(users=[user()]), PLATFORM)
    assert {(file.owner, file.group) for file in file_set.files} == {("root", "root")}
    modes = [file.mode for file in file_set.files] + [directory.mode for directory in file_set.directories]
    assert [mode for mode in modes if mode & 0o022] == []
    theirs = {directory.path for directory in file_set.directories if directory.owner != "root"}
    assert theirs == {paths.CONFIG, paths.SPECIFIC, f"{paths.SPECIFIC}/db", paths.SESSIONS, paths.KEPT}


def test_data_and_secrets_are_not_readable_by_others() -> None:
    """Hashes, keys, configuration, database and sessions."""
    modes = {directory.path: directory.mode for directory in render(settings(), PLATFORM).directories}
    closed = (
        "/etc/baikal",
        paths.CONFIG,
        paths.SPECIFIC,
        paths.SESSIONS,
        paths.STATE,
        paths.STAMPS,
        paths.TLS,
        paths.KEPT,
    )
    assert {modes[path] for path in (*closed, paths.ACME, paths.ISSUED)} == {0o700}
    assert modes[paths.CHALLENGES] == 0o755, "nginx's workers read it"
    assert modes[paths.MAINTENANCE] == 0o711, "nginx's workers and PHP find a file by its name, and read no names"


def test_output_of_php_with_status_503_is_not_sent() -> None:
    """Baïkal's stack traces contain paths. PHP must know the status before the answer begins."""
    web, pool = lines(text()), lines(text(POOL))
    assert {"fastcgi_intercept_errors on;", "error_page 503 = @later;"} <= set(web)
    assert "php_admin_value[output_buffering] = 0" in pool


def test_if_in_nginx_has_only_set_and_return() -> None:
    """Other directives in it are undefined, says nginx's documentation ("if is evil")."""
    for changed in SOME_SETTINGS.values():
        blocks = re.findall(r"if \(.*?\) \{\n(.*?)\n *\}", text(**changed), re.DOTALL)
        assert len(blocks) >= 4
        assert {line.split()[0] for block in blocks for line in block.splitlines()} == {"set", "return"}


def test_directory_of_every_file_exists() -> None:
    """The deploy makes it, parents first, or a package does."""
    theirs = {"/etc/php/8.2/fpm/pool.d", "/etc/php/8.2/fpm/conf.d", "/etc/nginx/conf.d", "/usr/local/sbin", UNITS}
    file_set = render(settings(), PLATFORM)
    made = [directory.path for directory in file_set.directories]
    assert {str(PurePosixPath(file.path).parent) for file in file_set.files} - set(made) <= theirs
    assert len(made) == len(set(made))
    for position, path in enumerate(made):
        parent = str(PurePosixPath(path).parent)
        assert parent not in made[position:]


def test_no_path_is_written_twice() -> None:
    """Each file has one content."""
    written = [file.path for file in render(settings(), PLATFORM).files]
    assert len(written) == len(set(written))


def test_host_gets_all_files_of_baikalctl_only() -> None:
    """Every module and every template, without compiled files."""
    library = {file.path for file in program().files if file.path.startswith(paths.LIBRARY)}
    library -= {f"{paths.LIBRARY}/{name}.php" for name in ("away", "migrate", "prepend", "rehearse", "sessions")}
    modules = {f"{paths.LIBRARY}/{path.relative_to(HOME)}" for path in (HOME / "baikalctl").rglob("*.py")}
    templates = {
        f"{paths.LIBRARY}/{path.relative_to(HOME)}" for path in (HOME / "templates").rglob("*") if path.is_file()
    }
    assert library == modules | templates


def test_library_on_the_host_works_without_the_checkout(tmp_path: Path) -> None:
    """It needs neither this checkout nor its virtual environment."""
    for file in program().files:
        target = tmp_path / file.path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
    command_text = (tmp_path / paths.COMMAND[1:]).read_text(encoding="utf-8")
    (code,) = re.findall(r"-c '([^']+)'", command_text)
    command = [sys.executable, "-I", "-B", "-c", code.replace(paths.LIBRARY, f"{tmp_path}{paths.LIBRARY}"), "settings"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("# Settings")


def test_command_is_a_valid_shell_script() -> None:
    """All users can run it, and it is isolated from the caller's environment."""
    (command,) = [file for file in program().files if file.path == paths.COMMAND]
    assert command.mode == 0o755
    assert b"python3 -I " in command.content
    subprocess.run(["sh", "-n"], input=command.content, check=True)


def test_default_site_of_the_distribution_is_removed() -> None:
    """It would be the default server too."""
    assert ("/etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default") in render(
        settings(), PLATFORM
    ).displaced


@pytest.fixture
def overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty overlay, which no other test sees."""
    monkeypatch.setattr(templates, "_overlay", [])
    return tmp_path / "template_overlay"


def put(overlay: Path, template: str, content: str) -> None:
    """Write a template to the ``overlay``, and use that."""
    path = overlay / template
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    templates.use_overlay(overlay)


def test_overlaid_template_replaces_ours_on_machine_image_and_container(overlay: Path) -> None:
    """By the same path, with the same variables; an image has it for its containers."""
    put(overlay, "etc/nginx/conf.d/baikal.conf", "# ours for {{ settings.hostname }}\n")
    machine = {file.path: file.content for file in render(settings(), PLATFORM).files}
    assert machine[NGINX] == b"# ours for cal.example.org\n"
    contained = {file.path: file.content for file in render_contained(settings(), PLATFORM, "BaikalDAV").files}
    assert contained[f"/run/baikal{NGINX}"] == b"# ours for cal.example.org\n"
    library = {file.path: file.content for file in program().files}
    assert library[f"{paths.LIBRARY}/templates{NGINX}"] == b"# ours for {{ settings.hostname }}\n"


def test_overlaid_php_file_replaces_ours(overlay: Path) -> None:
    """It is in the library twice: as a template, and where PHP reads it."""
    put(overlay, "usr/local/lib/baikalctl/away.php", "<?php // ours\n")
    library = {file.path: file.content for file in program().files}
    for path in (f"{paths.LIBRARY}/away.php", f"{paths.LIBRARY}/templates{paths.LIBRARY}/away.php"):
        assert library[path] == b"<?php // ours\n"


def test_overlay_with_unknown_path_is_refused(overlay: Path) -> None:
    """It would have no effect."""
    with pytest.raises(SettingsError) as caught:
        put(overlay, "etc/nginx/baikal.conf", "")
    (fault,) = caught.value.faults
    assert str(fault).startswith("template_overlay/etc/nginx/baikal.conf: replaces no template; move it to")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{{ settings.hostnam }}", "baikal.conf can't be rendered: .*has no attribute 'hostnam'; fix that file"),
        ("\n{% if %}", r"baikal.conf:2 can't be rendered: .*; fix that file"),
    ],
    ids=["misspelt variable", "syntax error"],
)
def test_template_that_cannot_be_rendered_is_one_line(overlay: Path, content: str, reason: str) -> None:
    """Rendering stops instead of writing nothing in its path."""
    put(overlay, "etc/nginx/conf.d/baikal.conf", content)
    with pytest.raises(HostError, match=f"template_overlay/etc/nginx/conf.d/{reason}"):
        render(settings(), PLATFORM)


def test_every_map_fits_into_nginx_on_every_processor() -> None:
    """The processor's cache lines limit the size of hashes; the smallest have room for keys of fourteen characters."""
    blocks = re.findall(r"^map [^{]*\{(.*?)^\}", text(NGINX, trusted_proxies=["10.0.0.0/8"]), re.MULTILINE | re.DOTALL)
    keys = [line.split()[0] if line[0] != '"' else line.split('"')[1] for block in blocks for line in lines(block)]
    assert len(keys) > 6
    assert [key for key in keys if not key.startswith("~") and len(key) > 14] == []
