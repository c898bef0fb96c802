"""Which certificate is served, which one replaces it, and the further configuration of nginx."""

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
    issue,
    operator_files,
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
"""A chain of the operator, with its root."""


@pytest.fixture
def trusting(host: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return the settings of a host with an authority whose root is in its store."""
    trust(monkeypatch, host, ROOT)
    return LETSENCRYPT | {"acme_server": "https://ca.lan/acme"}


def issued(it: DesiredState, *certificates: x509.Certificate) -> Path:
    """Store this chain as issued by the declared authority; return its path."""
    assert it.asking is not None
    first = certbot.first_line(it, it.asking)
    return put(selection.issued_path(it), pem(*certificates or (signed(), CA)), first=first)


def pair(path: Path) -> str:
    """Return the content of a file without comments."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


def serves(it: DesiredState) -> str:
    """Return the pair that the web server reads."""
    return selection.serving_pair(it).read_text(encoding="utf-8")


def further(it: DesiredState) -> str:
    """Return the further configuration of the web server, without comments."""
    return pair(Path(f"{it.served}.conf"))


def names(folder: str) -> list[str]:
    """Return the names of a directory's files."""
    return sorted(path.name for path in Path(folder).iterdir())


def test_the_operators_files_are_copied_into_one(host: Path) -> None:
    """Chain first, then key, readable for root alone. A second run finds nothing to do."""
    it = operator_files(host, OWN)
    assert take(it) == [f"use the certificate in {it.tls_certificate}"]
    assert serves(it) == (OWN + GOOD_KEY).decode()
    assert stat.S_IMODE(selection.serving_pair(it).stat().st_mode) == 0o600
    assert take(it) == []


def test_replaced_files_are_used(host: Path) -> None:
    """Even if the old ones would have lasted longer."""
    take(operator_files(host, OWN))
    newer = pem(signed(days=5), CA, ROOT)
    it = operator_files(host, newer)
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
def test_broken_files_keep_the_old_pair_in_use(host: Path, chain: bytes, key: bytes) -> None:
    """With each fault. A deploy refuses them, and the check reports them."""
    take(operator_files(host, OWN))
    it = operator_files(host, chain, key)
    assert take(it) == []
    assert serves(it) == (OWN + GOOD_KEY).decode()
    with pytest.raises(HostError):
        selection.declared_pair(it)


def test_missing_files_keep_the_old_pair_in_use(host: Path) -> None:
    """For example if a disk isn't mounted."""
    it = operator_files(host, OWN)
    take(it)
    Path(it.tls_certificate).unlink()
    assert take(it) == []
    assert serves(it) == (OWN + GOOD_KEY).decode()


def test_an_expired_pair_of_the_operator_stays_in_use(host: Path) -> None:
    """Clients can accept the warning. The operator's pair is never replaced by a self-signed one."""
    it = operator_files(host, b"")
    put(selection.serving_pair(it), pem(signed(starts=-90, days=-1), CA, ROOT))
    assert [sentence for sentence, _ in selection.steps(it) if "make" in sentence] == []
    take(it)
    assert "BEGIN CERTIFICATE" in serves(it)


def test_broken_files_without_an_old_pair_are_refused(host: Path) -> None:
    """No other pair is made, and the fault is reported."""
    it = operator_files(host, OWN, secret(OTHER_KEY))
    with pytest.raises(HostError, match=r"cal\.key is not the key of .*cal\.pem$"):
        take(it)
    assert names(paths.TLS) == []


def test_an_old_pair_for_another_name_is_not_used(host: Path) -> None:
    """The operator may have copied it there."""
    it = operator_files(host, b"")
    put(selection.serving_pair(it), pem(issue(FURTHER)))
    with pytest.raises(HostError, match="is no certificate in PEM form"):
        take(it)


def test_an_old_pair_without_a_further_name_stays_in_use(host: Path) -> None:
    """Most clients use the main name."""
    take(operator_files(host, OWN))
    it = operator_files(host, OWN, hostnames=["dav.example.org"])
    assert take(it) == []
    assert serves(it) == (OWN + GOOD_KEY).decode()
    with pytest.raises(HostError, match=r"doesn't cover dav\.example\.org"):
        selection.declared_pair(it)


@pytest.mark.parametrize("junk", [b"\xff\xfe\x00garbage", b"", OWN[:700]], ids=["binary", "empty", "cut"])
def test_damaged_files_are_written_again(host: Path, junk: bytes) -> None:
    """For example after a failure of the disk."""
    it = operator_files(host, OWN)
    take(it)
    for part in (selection.serving_pair(it), Path(f"{it.served}.conf")):
        part.write_bytes(junk + b"\n")
        assert len(take(it)) == 1
        assert serves(it) == (OWN + GOOD_KEY).decode()
        assert take(it) == []


def test_a_missing_configuration_file_is_written(host: Path) -> None:
    """Both files are one state."""
    it = operator_files(host, OWN)
    take(it)
    Path(f"{it.served}.conf").unlink()
    assert len(take(it)) == 1
    assert further(it) == ""


def test_a_full_disk_keeps_the_old_pair_in_use(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can't be written completely replaces no other, and its temporary file is removed."""
    take(operator_files(host, OWN))
    it = operator_files(host, pem(signed(days=200), CA, ROOT))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HostError, match="No space left on device"):
            take(it)
    assert serves(it) == (OWN + GOOD_KEY).decode()
    assert names(paths.TLS) == [f"files-{NAME}.conf", f"files-{NAME}.pem"]
    assert len(take(it)) == 1, "after the disk has space again"


@pytest.mark.parametrize("survives", [0, 1])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_run_that_is_killed_between_two_files_leaves_a_valid_state(
    trusting: dict[str, object], monkeypatch: pytest.MonkeyPatch, survives: int, *, trusted: bool
) -> None:
    """HSTS is never sent with an untrusted certificate, neither before nor after. The next run completes the change."""
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
    assert selection.read_pair(it, selection.serving_pair(it)).trusted or further(it) == ""
    assert len(take(it)) == 1
    assert (further(it) == HSTS) == selection.read_pair(it, selection.serving_pair(it)).trusted == trusted


def test_hsts_and_stapling_are_enabled_for_a_trusted_certificate(trusting: dict[str, object]) -> None:
    """Both files are copies of static templates."""
    it = declared(**trusting)
    issued(it)
    take(it)
    assert further(it) == HSTS
    issued(it, signed(ocsp="http://ocsp.example.org"), CA)
    take(it)
    assert further(it).startswith(HSTS + STAPLING)
    snippets = [HOME / "templates/var/lib/baikal/tls" / f"{name}.conf" for name in ("hsts", "stapling")]
    whole = Path(f"{it.served}.conf").read_text(encoding="utf-8")
    assert whole == "".join(snippet.read_text(encoding="utf-8") for snippet in snippets)


@pytest.mark.parametrize(
    "chain",
    [(issue(DNS),), (signed(),), (signed(ocsp="http://ocsp.example.org"),)],
    ids=["self-signed", "without chain", "with a responder"],
)
def test_hsts_and_stapling_are_off_for_an_untrusted_certificate(
    trusting: dict[str, object], chain: tuple[x509.Certificate, ...]
) -> None:
    """HSTS would lock out all browsers, and nginx must not query an unknown responder."""
    it = declared(**trusting)
    put(selection.serving_pair(it), pem(*chain))
    Path(f"{it.served}.conf").write_text(HSTS, encoding="utf-8")
    take(it)
    assert further(it) == ""


def test_hsts_is_off_if_only_acme_ca_trusts_the_authority(host: Path) -> None:
    """Browsers that don't know the authority could not skip the warning."""
    (host / "ca.pem").write_bytes(pem(ROOT))
    it = declared(**LETSENCRYPT, acme_server="https://ca.lan/acme", acme_ca=str(host / "ca.pem"))
    path = issued(it, signed(ocsp="http://ocsp.example.org"), CA)
    take(it)
    assert serves(it) == pair(path)
    assert further(it) == ""


def test_text_around_a_pair_is_not_served(host: Path) -> None:
    """The web server gets the chain and one key."""
    words = "Zertifikat für Jürgen\n".encode("latin-1")
    it = operator_files(host, words + OWN + words, GOOD_KEY + words + secret(OTHER_KEY))
    take(it)
    assert serves(it) == (OWN + GOOD_KEY).decode()
    Path(it.tls_certificate).write_bytes(OWN)
    Path(it.tls_key).write_bytes(GOOD_KEY)
    assert take(it) == [], "the pair is unchanged"


def test_hsts_is_enabled_for_a_trusted_certificate_of_the_operator(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This host's store has the root, as clients' stores do."""
    trust(monkeypatch, host, ROOT)
    it = operator_files(host, pem(signed(), CA))
    assert selection.declared_pair(it).trusted
    take(it)
    assert further(it) == HSTS


def test_a_self_signed_certificate_is_used_until_one_is_issued(host: Path) -> None:
    """The authority needs a running server."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    assert take(it) == [f"make a self-signed certificate: {selection.issued_path(it)} is not there"]
    assert selection.read_pair(it, selection.serving_pair(it)).self_signed
    assert further(it) == ""
    assert take(it) == []


def test_an_issued_certificate_replaces_a_self_signed_one(host: Path) -> None:
    """At once, and for good."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    take(it)
    path = issued(it)
    assert take(it) == [f"use the certificate in {path}"]
    assert serves(it) == pair(path)
    assert take(it) == []


def other(it: DesiredState, mode: str) -> Path:
    """Return the path of the pair of another mode for the same name."""
    return Path(f"{paths.TLS}/{mode}-{it.hostname}.pem")


@pytest.mark.parametrize("gone", range(5))
def test_the_best_available_pair_is_used_with_an_authority(host: Path, gone: int) -> None:
    """The issued one; the present one; those of other settings; at last, a new self-signed one."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    candidates = (
        issued(it),
        put(selection.serving_pair(it), pem(signed(days=40), CA)),
        put(other(it, "files"), pem(signed(days=30), CA)),
        put(other(it, "selfsigned"), pem(issue(DNS, days=150))),
    )
    contents = [pair(path) for path in candidates]
    for path in candidates[:gone]:
        path.unlink()
    take(it)
    if gone < len(candidates):
        assert serves(it) == contents[gone]
    else:
        assert selection.read_pair(it, selection.serving_pair(it)).days_left == 396


def test_a_valid_pair_is_preferred_to_a_broken_issued_one(host: Path) -> None:
    """Damaged, expired, not valid yet, or for another name."""
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


def test_a_valid_pair_is_preferred_to_one_with_an_expired_chain(trusting: dict[str, object]) -> None:
    """Clients refuse an expired chain. Without another pair, it is still better than a self-signed one."""
    it = declared(**trusting)
    old = issue(DNS, signer=(OLD_CA, CA_KEY))
    good = put(selection.serving_pair(it), pem(signed(days=3), CA)).read_text(encoding="utf-8")
    path = issued(it, old, OLD_CA)
    take(it)
    assert serves(it) == good
    selection.serving_pair(it).unlink()
    take(it)
    assert serves(it) == pair(path)
    assert further(it) == ""


def test_files_with_an_expired_chain_keep_the_old_pair_in_use(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host notices if its store has the root."""
    trust(monkeypatch, host, ROOT)
    take(operator_files(host, OWN))
    it = operator_files(host, pem(issue(DNS, signer=(OLD_CA, CA_KEY)), OLD_CA))
    assert take(it) == []
    assert serves(it) == (OWN + GOOD_KEY).decode()
    with pytest.raises(HostError, match=r"the chain in .*cal\.pem has expired; use the authority's newer chain$"):
        selection.declared_pair(it)


def test_each_authority_has_its_own_file(host: Path) -> None:
    """A test with another authority keeps both certificates; the declared one is served."""
    assert host.is_dir()
    hosts = [declared(**LETSENCRYPT | more) for more in ({}, {"acme_server": "staging"})]
    hosts.append(declared(**LETSENCRYPT, acme_server="https://ca.lan:8443/acme/dir"))
    stored = [issued(it, signed(days=50 + number), CA) for number, it in enumerate(hosts)]
    assert [path.name for path in stored] == [
        f"acme-v02.api.letsencrypt.org_{NAME}.pem",
        f"acme-staging-v02.api.letsencrypt.org_{NAME}.pem",
        f"ca.lan:8443_{NAME}.pem",
    ]
    for it, path in zip(hosts, stored, strict=True):
        take(it)
        assert remains(it) == [f"letsencrypt-{NAME}.conf", f"letsencrypt-{NAME}.pem"]
        assert serves(it) == pair(path)
        assert names(paths.ISSUED) == sorted(path.name for path in stored)


def test_a_pair_of_another_mode_for_another_name_is_not_used(host: Path) -> None:
    """The name of its file has another host name."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    put(Path(f"{paths.TLS}/files-dav.example.org.pem"), pem(signed(DNS), CA))
    take(it)
    assert selection.read_pair(it, selection.serving_pair(it)).self_signed


def test_an_expired_certificate_of_an_authority_is_preferred_to_a_self_signed_one(host: Path) -> None:
    """Clients may recognise it, and new requests continue."""
    assert host.is_dir()
    it = declared(**LETSENCRYPT)
    put(other(it, "selfsigned"), GOOD)
    path = issued(it, signed(starts=-90, days=-1), CA)
    take(it)
    assert serves(it) == pair(path)


def test_an_issued_certificate_stays_in_use_until_one_has_the_further_name(host: Path) -> None:
    """A self-signed one with all names isn't used."""
    assert host.is_dir()
    it, more = declared(**LETSENCRYPT), declared(**LETSENCRYPT, hostnames=["dav.example.org"])
    path = issued(it)
    take(it)
    before = pair(path)
    assert take(more) == []
    assert serves(more) == before
    issued(more, signed(DNS, FURTHER), CA)
    assert len(take(more)) == 1
    assert selection.read_pair(more, selection.serving_pair(more)).uncovered == ()


@pytest.mark.parametrize("mode", ["selfsigned", "off"])
def test_an_issued_certificate_is_not_used_without_an_authority(host: Path, mode: str) -> None:
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
    """Create these files in the web server's folder."""
    for name in files:
        Path(f"{paths.TLS}/{name}").touch()


@pytest.mark.parametrize("settings", [LETSENCRYPT, {}, {"tls": "off"}], ids=["Let's Encrypt", "self-signed", "no TLS"])
def test_temporary_files_of_issued_certificates_are_removed(host: Path, settings: dict[str, object]) -> None:
    """For example after a power cut. They contain keys."""
    it = declared(**settings)
    path = issued(declared(**LETSENCRYPT))
    for half in (path.with_name(f".{path.name}.new"), path.with_name(".ca.lan_old.example.org.pem.new")):
        half.write_bytes(pem(signed(), CA) + GOOD_KEY)
    remains(it)
    assert names(paths.ISSUED) == [path.name]
    assert host.is_dir()


def test_files_of_an_interrupted_request_are_removed_without_an_authority(host: Path) -> None:
    """With an authority, the next request removes them, or one is running."""
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
    """Remove the leftovers, check that each is reported, and return the files that are kept."""
    for sentence, act in selection.leftovers(it):
        assert sentence.startswith((f"remove {paths.TLS}/", f"remove {paths.ISSUED}/"))
        assert sentence.endswith(", which is no longer used")
        act()
    assert list(selection.leftovers(it)) == []
    return names(paths.TLS)


def test_files_of_other_settings_and_names_are_removed(host: Path) -> None:
    """Also those of older versions and interrupted runs. Each contains a key."""
    assert host.is_dir()
    it = declared()
    take(it)
    leave(f"letsencrypt-{NAME}.pem", f"letsencrypt-{NAME}.conf", f"files-{NAME}.pem", f"files-{NAME}.conf")
    leave("selfsigned-old.example.org.pem", f"selfsigned-{NAME}.crt", f"selfsigned-{NAME}.key")
    leave(f".files-{NAME}.pem.new", f"selfsigned-{NAME}.key.new")
    assert remains(it) == [f"selfsigned-{NAME}.conf", f"selfsigned-{NAME}.pem"]


def test_files_with_other_names_are_kept(host: Path) -> None:
    """They aren't called like ours."""
    assert host.is_dir()
    theirs = ["ca.pem", f"{NAME}.pem", "dhparam.pem", "readme.txt", f"selfsigned-{NAME}.pem.bak"]
    leave(*theirs)
    assert remains(declared(tls="off")) == sorted(theirs)


def test_without_tls_only_issued_certificates_are_kept(host: Path) -> None:
    """Until they expire."""
    assert host.is_dir()
    take(declared())
    path = issued(declared(**LETSENCRYPT))
    assert remains(declared(tls="off")) == []
    assert path.is_file()


def test_issued_certificates_are_kept_until_they_expire(host: Path) -> None:
    """Each counts against the authority's limits, so an operator who returns to a name must not need a new one."""
    assert host.is_dir()
    for name, chain in (
        ("good.example.org", pem(signed(), CA)),
        ("old.example.org", pem(signed(starts=-90, days=-1), CA)),
        ("last.example.org", pem(signed(days=-0.45), CA)),
        ("broken.example.org", b""),
    ):
        put(Path(f"{paths.ISSUED}/{name}.pem"), chain)
    path = issued(declared(**LETSENCRYPT), signed(starts=-90, days=-1), CA)
    remains(declared(**LETSENCRYPT))
    assert names(paths.ISSUED) == [path.name, "good.example.org.pem", "last.example.org.pem"], (
        "the host's own certificate is kept"
    )


def test_a_change_of_mode_and_back_needs_no_new_certificate(host: Path) -> None:
    """From an authority to the operator's files and back."""
    it, files = declared(**LETSENCRYPT), operator_files(host, OWN)
    path = issued(it)
    for each in (it, files):
        take(each)
        remains(each)
    assert names(paths.TLS) == [f"files-{NAME}.conf", f"files-{NAME}.pem"]
    take(it)
    assert serves(it) == pair(path)


@pytest.mark.usefixtures("release_standing")
def test_a_run_removes_old_pairs_after_the_new_one_is_in_use(host: Path) -> None:
    """The old pair may be the one that is used."""
    take(operator_files(host, OWN))
    messages: list[str] = []
    it = declared(**LETSENCRYPT)
    apply.apply(it, messages.append)
    assert messages[0] == f"use the certificate in {other(it, 'files')}"
    assert messages[1:3] == [
        f"remove {paths.TLS}/files-{NAME}.{kind}, which is no longer used" for kind in ("conf", "pem")
    ]
    assert serves(it) == (OWN + GOOD_KEY).decode()
