"""Which certificate serves: what takes whose place, what doesn't, and what is told besides."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.commands import apply
from baikalctl.errors import HostError
from baikalctl.tls import certbot, selection
from tests.unit.pairs import (
    CA,
    CA_KEY,
    DNS,
    FURTHER,
    GOOD,
    GOOD_KEY,
    NAME,
    OLD_CA,
    OTHER_KEY,
    ROOT,
    brought,
    issue,
    pem,
    put,
    secret,
    signed,
    take,
    trust,
)
from tests.unit.samples import HOME, LETSENCRYPT, declared

if TYPE_CHECKING:
    from cryptography import x509

    from baikalctl.desired.state import DesiredState


HSTS = 'add_header Strict-Transport-Security "max-age=63072000" always;\n'
STAPLING = "ssl_stapling on;\n"
OWN = pem(signed(), CA, ROOT)
"""A chain of somebody's own, up to its root."""


@pytest.fixture
def trusting(host: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return the settings of a host that asks an authority whose root its system knows."""
    trust(monkeypatch, host, ROOT)
    return LETSENCRYPT | {"acme_server": "https://ca.lan/acme"}


def issued(it: DesiredState, *certificates: x509.Certificate) -> Path:
    """Have an authority have issued this chain, for what is declared."""
    assert it.asking is not None
    first = certbot.first_line(it, it.asking)
    return put(selection.issued_path(it), pem(*certificates or (signed(), CA)), first=first)


def pair(place: Path) -> str:
    """Return what is in a file, without comments."""
    lines = place.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


def serves(it: DesiredState) -> str:
    """Return what the web server reads as its certificate."""
    return selection.serving_pair(it).read_text(encoding="utf-8")


def besides(it: DesiredState) -> str:
    """Return what the web server is told besides, without comments."""
    return pair(Path(f"{it.served}.conf"))


def names(folder: str) -> list[str]:
    """Return what is in a directory."""
    return sorted(path.name for path in Path(folder).iterdir())


def test_files_of_somebodys_own_are_copied_into_one(host: Path) -> None:
    """Chain first, then key, for root alone; a second look finds nothing to do."""
    it = brought(host, OWN)
    assert take(it) == [f"use the certificate in {it.tls_certificate}"]
    assert serves(it) == (OWN + GOOD_KEY).decode()
    assert stat.S_IMODE(selection.serving_pair(it).stat().st_mode) == 0o600
    assert take(it) == []


def test_files_that_are_replaced_take_the_place(host: Path) -> None:
    """However much longer the old ones would have lasted."""
    take(brought(host, OWN))
    newer = pem(signed(days=5), CA, ROOT)
    it = brought(host, newer)
    assert len(take(it)) == 1
    assert serves(it).startswith(newer.decode())


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        (b"", GOOD_KEY),
        (OWN[:500], GOOD_KEY),
        (OWN, secret(OTHER_KEY)),
        (OWN, b""),
        (pem(signed(starts=-90, days=-1), CA, ROOT), GOOD_KEY),
        (pem(signed(starts=1), CA, ROOT), GOOD_KEY),
        (pem(signed(FURTHER), CA, ROOT), GOOD_KEY),
        (pem(signed()), GOOD_KEY),
    ],
    ids=["empty", "cut", "other key", "no key", "expired", "not valid yet", "other name", "without chain"],
)
def test_files_that_are_broken_leave_the_old_pair_serving(host: Path, chain: bytes, key: bytes) -> None:
    """Whatever somebody does to them; a deploy refuses them, and the doctor tells."""
    take(brought(host, OWN))
    it = brought(host, chain, key)
    assert take(it) == []
    assert serves(it) == (OWN + GOOD_KEY).decode()
    with pytest.raises(HostError):
        selection.declared_pair(it)


def test_files_that_went_leave_the_old_pair_serving(host: Path) -> None:
    """As where a disk isn't mounted."""
    it = brought(host, OWN)
    take(it)
    Path(it.tls_certificate).unlink()
    assert take(it) == []
    assert serves(it) == (OWN + GOOD_KEY).decode()


def test_an_old_pair_that_has_expired_goes_on_serving_all_the_same(host: Path) -> None:
    """Whoever clicks the warning away gets on; and nobody gets a self-signed one in the place of somebody's own."""
    it = brought(host, b"")
    put(selection.serving_pair(it), pem(signed(starts=-90, days=-1), CA, ROOT))
    assert [sentence for sentence, _ in selection.steps(it) if "make" in sentence] == []
    take(it)
    assert "BEGIN CERTIFICATE" in serves(it)


def test_files_that_are_broken_from_the_beginning_are_refused(host: Path) -> None:
    """Nothing is made in their place; what is wrong is said."""
    it = brought(host, OWN, secret(OTHER_KEY))
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        take(it)
    assert names(paths.TLS) == []


def test_an_old_pair_for_another_name_is_no_stopgap(host: Path) -> None:
    """As somebody may have copied it there."""
    it = brought(host, b"")
    put(selection.serving_pair(it), pem(issue(FURTHER)))
    with pytest.raises(HostError, match="is no certificate in PEM form"):
        take(it)


def test_an_old_pair_without_a_further_name_is_one(host: Path) -> None:
    """Most clients come by the main name."""
    take(brought(host, OWN))
    it = brought(host, OWN, hostnames=["dav.example.org"])
    assert take(it) == []
    assert serves(it) == (OWN + GOOD_KEY).decode()
    with pytest.raises(HostError, match=r"doesn't cover dav\.example\.org"):
        selection.declared_pair(it)


@pytest.mark.parametrize("junk", [b"\xff\xfe\x00garbage", b"", OWN[:700]], ids=["binary", "empty", "cut"])
def test_what_was_damaged_is_mended(host: Path, junk: bytes) -> None:
    """As after a disk's failure: what is declared is what serves."""
    it = brought(host, OWN)
    take(it)
    for part in (selection.serving_pair(it), Path(f"{it.served}.conf")):
        part.write_bytes(junk + b"\n")
        assert len(take(it)) == 1
        assert serves(it) == (OWN + GOOD_KEY).decode()
        assert take(it) == []


def test_a_missing_snippet_is_written(host: Path) -> None:
    """Both files are one state."""
    it = brought(host, OWN)
    take(it)
    Path(f"{it.served}.conf").unlink()
    assert len(take(it)) == 1
    assert besides(it) == ""


def test_a_full_disk_leaves_the_old_pair_serving(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be written whole takes nobody's place, and leaves nothing beside it."""
    take(brought(host, OWN))
    it = brought(host, pem(signed(days=200), CA, ROOT))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HostError, match="No space left on device"):
            take(it)
    assert serves(it) == (OWN + GOOD_KEY).decode()
    assert names(paths.TLS) == [f"files-{NAME}.conf", f"files-{NAME}.pem"]
    assert len(take(it)) == 1, "when there is room again"


@pytest.mark.parametrize("survives", [0, 1])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_run_that_dies_between_two_files_leaves_what_can_serve(
    trusting: dict[str, object], monkeypatch: pytest.MonkeyPatch, survives: int, *, trusted: bool
) -> None:
    """Browsers are never told to insist on a certificate that isn't there, neither before nor after; the next run mends."""
    it = declared(**trusting)
    put(selection.serving_pair(it), pem(issue(DNS)) if trusted else pem(signed(), CA))
    Path(f"{it.served}.conf").write_text("" if trusted else HSTS, encoding="utf-8")
    issued(it, *((signed(), CA) if trusted else (signed(),)))
    replacing: list[Path] = []
    true_replace = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if len(replacing) == survives:
            raise KeyboardInterrupt
        replacing.append(target)
        return true_replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            take(it)
    assert selection.read_pair(it, selection.serving_pair(it)).fault() == ""
    assert selection.read_pair(it, selection.serving_pair(it)).trusted or besides(it) == ""
    assert len(take(it)) == 1
    assert (besides(it) == HSTS) == selection.read_pair(it, selection.serving_pair(it)).trusted == trusted


def test_hsts_and_stapling_are_told_of_a_certificate_that_clients_believe(trusting: dict[str, object]) -> None:
    """And of no other; the snippets themselves are static."""
    it = declared(**trusting)
    issued(it)
    take(it)
    assert besides(it) == HSTS
    issued(it, signed(ocsp="http://ocsp.example.org"), CA)
    take(it)
    assert besides(it).startswith(HSTS + STAPLING)
    snippets = [HOME / "templates/var/lib/baikal/tls" / f"{name}.conf" for name in ("hsts", "stapling")]
    whole = Path(f"{it.served}.conf").read_text(encoding="utf-8")
    assert whole == "".join(snippet.read_text(encoding="utf-8") for snippet in snippets)


@pytest.mark.parametrize(
    "chain",
    [(issue(DNS),), (signed(),), (signed(ocsp="http://ocsp.example.org"),)],
    ids=["self-signed", "without chain", "with a responder"],
)
def test_nothing_is_told_of_a_certificate_that_clients_refuse(
    trusting: dict[str, object], chain: tuple[x509.Certificate, ...]
) -> None:
    """HSTS would lock everybody out, and a responder of somebody unknown is nobody's business."""
    it = declared(**trusting)
    put(selection.serving_pair(it), pem(*chain))
    Path(f"{it.served}.conf").write_text(HSTS, encoding="utf-8")
    take(it)
    assert besides(it) == ""


def test_nothing_is_told_of_a_certificate_whose_authority_is_only_declared(host: Path) -> None:
    """Browsers that don't know it would insist on what they refuse, without a way on."""
    (host / "ca.pem").write_bytes(pem(ROOT))
    it = declared(**LETSENCRYPT, acme_server="https://ca.lan/acme", acme_ca=str(host / "ca.pem"))
    place = issued(it, signed(ocsp="http://ocsp.example.org"), CA)
    take(it)
    assert serves(it) == pair(place)
    assert besides(it) == ""


def test_what_stands_around_a_pair_is_not_served(host: Path) -> None:
    """Only chain and key are the web server's business, and one key."""
    words = "Zertifikat für Jürgen\n".encode("latin-1")
    it = brought(host, words + OWN + words, GOOD_KEY + words + secret(OTHER_KEY))
    take(it)
    assert serves(it) == (OWN + GOOD_KEY).decode()
    Path(it.tls_certificate).write_bytes(OWN)
    Path(it.tls_key).write_bytes(GOOD_KEY)
    assert take(it) == [], "it is the same pair"


def test_a_trusted_certificate_of_somebodys_own_is_told_of_too(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this host's system knows the root, as clients' do."""
    trust(monkeypatch, host, ROOT)
    it = brought(host, pem(signed(), CA))
    assert selection.declared_pair(it).trusted
    take(it)
    assert besides(it) == HSTS


def test_before_an_authority_has_issued_anything_a_self_signed_one_serves(host: Path) -> None:
    """So that there is a server that the authority can ask."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    assert take(it) == [f"make a self-signed certificate: {selection.issued_path(it)} is not there"]
    assert selection.read_pair(it, selection.serving_pair(it)).self_signed
    assert besides(it) == ""
    assert take(it) == []


def test_what_was_issued_takes_the_place_of_a_self_signed_one(host: Path) -> None:
    """At once, and for good."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    take(it)
    place = issued(it)
    assert take(it) == [f"use the certificate in {place}"]
    assert serves(it) == pair(place)
    assert take(it) == []


def other(it: DesiredState, mode: str) -> Path:
    """Return where another setting had its pair for the same name."""
    return Path(f"{paths.TLS}/{mode}-{it.hostname}.pem")


@pytest.mark.parametrize("gone", range(5))
def test_whoever_asks_an_authority_falls_back_in_this_order(host: Path, gone: int) -> None:
    """What was issued; what serves; what served with other settings; and at last, a new self-signed one."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    places = (
        issued(it),
        put(selection.serving_pair(it), pem(signed(days=40), CA)),
        put(other(it, "files"), pem(signed(days=30), CA)),
        put(other(it, "selfsigned"), pem(issue(DNS, days=150))),
    )
    contents = [pair(place) for place in places]
    for place in places[:gone]:
        place.unlink()
    take(it)
    if gone < len(places):
        assert serves(it) == contents[gone]
    else:
        assert selection.read_pair(it, selection.serving_pair(it)).days_left == 396


def test_a_good_pair_goes_before_a_better_one_that_is_broken(host: Path) -> None:
    """Damaged, expired, of tomorrow, or for another name."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    take(it)
    before = pem(signed(days=3), CA)
    for chain, key in (
        (pem(signed(), CA), secret(OTHER_KEY)),
        (pem(signed(starts=-90, days=-1), CA), GOOD_KEY),
        (pem(signed(starts=2), CA), GOOD_KEY),
        (pem(signed(FURTHER), CA), GOOD_KEY),
        (b"", b""),
    ):
        put(selection.serving_pair(it), before)
        put(selection.issued_path(it), chain, key)
        take(it)
        assert serves(it) == (before + GOOD_KEY).decode()


def test_a_good_pair_goes_before_one_whose_chain_has_expired(trusting: dict[str, object]) -> None:
    """Clients refuse it, however young it is; where there is no other, it is still an authority's."""
    it = declared(**trusting)
    old = issue(DNS, signer=(OLD_CA, CA_KEY))
    good = put(selection.serving_pair(it), pem(signed(days=3), CA)).read_text(encoding="utf-8")
    place = issued(it, old, OLD_CA)
    take(it)
    assert serves(it) == good
    selection.serving_pair(it).unlink()
    take(it)
    assert serves(it) == pair(place)
    assert besides(it) == ""


def test_files_whose_chain_has_expired_leave_the_old_pair_serving(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host knows the root, and so can tell."""
    trust(monkeypatch, host, ROOT)
    take(brought(host, OWN))
    it = brought(host, pem(issue(DNS, signer=(OLD_CA, CA_KEY)), OLD_CA))
    assert take(it) == []
    assert serves(it) == (OWN + GOOD_KEY).decode()
    with pytest.raises(HostError, match=r"the chain in .*cal\.pem has expired; use the authority's newer chain$"):
        selection.declared_pair(it)


def test_another_authority_has_a_place_of_its_own(host: Path) -> None:
    """A trial at one costs nothing at the other: both stay, and what is declared serves."""
    assert host.is_dir()
    hosts = [declared(**LETSENCRYPT | more) for more in ({}, {"acme_server": "staging"})]
    hosts.append(declared(**LETSENCRYPT, acme_server="https://ca.lan:8443/acme/dir"))
    places = [issued(it, signed(days=50 + number), CA) for number, it in enumerate(hosts)]
    assert [place.name for place in places] == [
        f"acme-v02.api.letsencrypt.org_{NAME}.pem",
        f"acme-staging-v02.api.letsencrypt.org_{NAME}.pem",
        f"ca.lan:8443_{NAME}.pem",
    ]
    for it, place in zip(hosts, places, strict=True):
        take(it)
        assert remains(it) == [f"letsencrypt-{NAME}.conf", f"letsencrypt-{NAME}.pem"]
        assert serves(it) == pair(place)
        assert names(paths.ISSUED) == sorted(place.name for place in places)


def test_another_modes_pair_for_another_name_is_not_taken(host: Path) -> None:
    """Its file is called after its name."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    put(Path(f"{paths.TLS}/files-dav.example.org.pem"), pem(signed(DNS), CA))
    take(it)
    assert selection.read_pair(it, selection.serving_pair(it)).self_signed


def test_an_expired_certificate_of_an_authority_goes_before_a_self_signed_one(host: Path) -> None:
    """Clients that have seen it know whose it is; and it is being asked for another one all the time."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    put(other(it, "selfsigned"), GOOD)
    place = issued(it, signed(starts=-90, days=-1), CA)
    take(it)
    assert serves(it) == pair(place)


def test_a_further_name_keeps_what_was_issued_until_a_better_comes(host: Path) -> None:
    """Without the new name, and not a self-signed one with it."""
    assert host.is_dir()
    it, more = declared(**LETSENCRYPT), declared(**LETSENCRYPT, hostnames=["dav.example.org"])
    place = issued(it)
    take(it)
    before = pair(place)
    assert take(more) == []
    assert serves(more) == before
    issued(more, signed(DNS, FURTHER), CA)
    assert len(take(more)) == 1
    assert selection.read_pair(more, selection.serving_pair(more)).uncovered == ()


@pytest.mark.parametrize("mode", ["selfsigned", "off"])
def test_whoever_asks_no_authority_is_served_nothing_of_one(host: Path, mode: str) -> None:
    """What is declared is what is done."""
    assert host.is_dir()
    issued(declared(**LETSENCRYPT))
    it = declared(tls=mode)
    take(it)
    if mode == "off":
        assert names(paths.TLS) == []
    else:
        assert selection.read_pair(it, selection.serving_pair(it)).self_signed


def leave(*files: str) -> None:
    """Have these files among those that the web server reads."""
    for name in files:
        Path(f"{paths.TLS}/{name}").touch()


@pytest.mark.parametrize("settings", [LETSENCRYPT, {}, {"tls": "off"}], ids=["Let's Encrypt", "self-signed", "no TLS"])
def test_what_was_half_issued_goes(host: Path, settings: dict[str, object]) -> None:
    """As after a power cut: it holds a key, and nobody finds it by its name."""
    it = declared(**settings)
    place = issued(declared(**LETSENCRYPT))
    for half in (place.with_name(f".{place.name}.new"), place.with_name(".ca.lan_old.example.org.pem.new")):
        half.write_bytes(pem(signed(), CA) + GOOD_KEY)
    remains(it)
    assert names(paths.ISSUED) == [place.name]
    assert host.is_dir()


def test_an_attempt_of_earlier_settings_goes_with_its_key(host: Path) -> None:
    """Where an authority is declared, the next attempt clears it away, or this one is under way."""
    assert host.is_dir()
    folder = Path(paths.ACME) / "incoming"
    folder.mkdir()
    (folder / "key.pem").write_bytes(GOOD_KEY)
    assert list(selection.leftovers(declared(**LETSENCRYPT))) == []
    ((sentence, act),) = selection.leftovers(declared())
    assert sentence == f"remove {folder}, left by an interrupted request"
    act()
    assert not folder.exists()
    assert list(selection.leftovers(declared())) == []
    assert Path(paths.ISSUED).is_dir()


def remains(it: DesiredState) -> list[str]:
    """Return what is left after the leftovers were removed, each of which was said."""
    for sentence, act in selection.leftovers(it):
        assert sentence.startswith((f"remove {paths.TLS}/", f"remove {paths.ISSUED}/"))
        assert sentence.endswith(", which is no longer used")
        act()
    assert list(selection.leftovers(it)) == []
    return names(paths.TLS)


def test_what_other_settings_and_names_have_left_goes(host: Path) -> None:
    """What older versions and interrupted runs left, too; each file holds a key."""
    assert host.is_dir()
    it = declared()
    take(it)
    leave(f"letsencrypt-{NAME}.pem", f"letsencrypt-{NAME}.conf", f"files-{NAME}.pem", f"files-{NAME}.conf")
    leave("selfsigned-old.example.org.pem", f"selfsigned-{NAME}.crt", f"selfsigned-{NAME}.key")
    leave(f".files-{NAME}.pem.new", f"selfsigned-{NAME}.key.new")
    assert remains(it) == [f"selfsigned-{NAME}.conf", f"selfsigned-{NAME}.pem"]


def test_other_peoples_files_stay(host: Path) -> None:
    """They aren't called like ours."""
    assert host.is_dir()
    theirs = ["ca.pem", f"{NAME}.pem", "dhparam.pem", "readme.txt", f"selfsigned-{NAME}.pem.bak"]
    leave(*theirs)
    assert remains(declared(tls="off")) == sorted(theirs)


def test_without_tls_no_key_is_left(host: Path) -> None:
    """But what an authority has issued, as long as it lasts."""
    assert host.is_dir()
    take(declared())
    place = issued(declared(**LETSENCRYPT))
    assert remains(declared(tls="off")) == []
    assert place.is_file()


def test_what_was_issued_stays_until_it_has_expired(host: Path) -> None:
    """It counts against the authority's limits: whoever comes back to the name needs no other one."""
    assert host.is_dir()
    for name, chain in (
        ("good.example.org", pem(signed(), CA)),
        ("old.example.org", pem(signed(starts=-90, days=-1), CA)),
        ("last.example.org", pem(signed(days=-0.45), CA)),
        ("broken.example.org", b""),
    ):
        put(Path(f"{paths.ISSUED}/{name}.pem"), chain)
    place = issued(declared(**LETSENCRYPT), signed(starts=-90, days=-1), CA)
    remains(declared(**LETSENCRYPT))
    assert names(paths.ISSUED) == [place.name, "good.example.org.pem", "last.example.org.pem"], (
        "the host's own is needed"
    )


def test_changing_back_and_forth_asks_nobody(host: Path) -> None:
    """From an authority to files of one's own, and back: the issued one serves again."""
    it, files = declared(**LETSENCRYPT), brought(host, OWN)
    place = issued(it)
    for each in (it, files):
        take(each)
        remains(each)
    assert names(paths.TLS) == [f"files-{NAME}.conf", f"files-{NAME}.pem"]
    take(it)
    assert serves(it) == pair(place)


@pytest.mark.usefixtures("release_standing")
def test_a_run_takes_and_then_clears_away(host: Path) -> None:
    """Only once the new pair stands is the old one removed, which may be what it falls back to."""
    take(brought(host, OWN))
    said: list[str] = []
    it = declared(**LETSENCRYPT)
    apply.apply(it, said.append)
    assert said[0] == f"use the certificate in {other(it, 'files')}"
    assert said[1:3] == [f"remove {paths.TLS}/files-{NAME}.{kind}, which is no longer used" for kind in ("conf", "pem")]
    assert serves(it) == (OWN + GOOD_KEY).decode()
