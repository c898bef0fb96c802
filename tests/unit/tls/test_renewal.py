"""``baikalctl certificate``: when an authority is asked, when not, and which certificate is served."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from baikalctl import output, paths
from baikalctl.errors import NOT_YET, HostError
from baikalctl.tls import acme_errors, attempts, certbot, renewal, selection
from baikalctl.tls.acme_errors import Refusal
from baikalctl.tls.attempts import HOUR_S, LASTING_PATIENCE, PATIENCE
from baikalctl.tls.renewal import LIFE, SPREAD, Options
from tests.unit.pairs import (
    CA,
    CA_KEY,
    DNS,
    FURTHER,
    GOOD_KEY,
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
from tests.unit.samples import LETSENCRYPT, declared

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.desired.state import Acme, DesiredState


NOW, RENEW, QUIET = Options(skip_delay=True), Options(force=True), Options(quiet=True)
REFUSAL = Refusal(reason="cal.example.org: connection refused", remedy="let port 80 lead here")
DAY_S = 86400


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Start at the present time."""
        self.now = time.time()

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that replaces ``time.time``."""
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    return made


class Authority:
    """A fake authority: its answer, and when it was asked."""

    def __init__(self) -> None:
        """Refuse at first."""
        self.answer: Callable[[DesiredState], Refusal | None] = lambda _: REFUSAL
        self.asked: list[float] = []

    def __call__(self, it: DesiredState, _: Acme) -> Refusal | None:
        """Answer."""
        self.asked.append(time.time())
        return self.answer(it)


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Return an authority that refuses."""
    made = Authority()
    monkeypatch.setattr(certbot, "request_certificate", made)
    return made


@pytest.fixture
def it(host: Path) -> DesiredState:
    """Return the state of a host with a certificate from Let's Encrypt."""
    assert host.is_dir()
    return declared(**LETSENCRYPT)


def asking(it: DesiredState) -> Acme:
    """Return the ACME settings of ``it``."""
    assert it.asking is not None
    return it.asking


def issued(it: DesiredState, *certificates: x509.Certificate) -> Path:
    """Store this chain as issued by the declared authority; return its path."""
    first = certbot.first_line(it, asking(it))
    return put(selection.issued_path(it), pem(*certificates or (signed(*names(it)), CA)), first=first)


def names(it: DesiredState) -> tuple[x509.DNSName, ...]:
    """Return the names of a host in the form of a certificate."""
    return (DNS, FURTHER) if len(it.names) > 1 else (DNS,)


def issues(it: DesiredState) -> None:
    """Issue a certificate, as an answer of :class:`Authority`."""
    issued(it)


def maintain(it: DesiredState, options: Options | None = None) -> tuple[int, list[str]]:
    """Run the command; return its status and messages."""
    messages: list[str] = []
    return renewal.maintain(it, messages.append, options or Options()), messages


def due(it: DesiredState) -> str:
    """Return why a certificate is due."""
    return renewal.due(it, asking(it))


def test_a_host_without_an_issued_certificate_needs_one(it: DesiredState) -> None:
    """An unusable one doesn't count."""
    assert due(it) == "Let's Encrypt has issued none yet"
    put(selection.issued_path(it), pem(signed(), CA), secret(OTHER_KEY), first=certbot.first_line(it, asking(it)))
    assert due(it) == "Let's Encrypt has issued none yet"
    issued(it)
    assert due(it) == ""


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hostnames": ["dav.example.org"]}, "it was issued for other settings"),
        ({"acme_key_type": "rsa"}, "it was issued for other settings"),
        ({"acme_server": "staging"}, "Let's Encrypt's staging has issued none yet"),
        (
            {"acme_server": "https://acme-v02.api.letsencrypt.org/other"},
            "it was issued for other settings",
        ),
    ],
    ids=["names", "key", "server", "directory of the same server"],
)
def test_a_certificate_for_other_settings_is_replaced(
    it: DesiredState, changed: dict[str, object], reason: str
) -> None:
    """Even if it could be served. With the old settings, the old one is used again."""
    path = issued(it, signed(DNS, FURTHER), CA)
    other = declared(**LETSENCRYPT | changed)
    assert due(other) == reason
    assert due(it) == ""
    assert path.is_file()


@pytest.mark.usefixtures("host")
def test_the_order_of_names_does_not_matter() -> None:
    """They are the same."""
    one, other = (
        declared(**LETSENCRYPT, hostnames=names)
        for names in (["dav.example.org", "a.org"], ["a.org", "dav.example.org"])
    )
    issued(one, signed(DNS, FURTHER, x509.DNSName("a.org")), CA)
    assert due(other) == due(one) == ""


def test_a_test_with_the_staging_server_keeps_the_real_certificate(it: DesiredState, ca: Authority) -> None:
    """After returning to the real server, the earlier certificate is used."""
    ca.answer = issues
    staging = declared(**LETSENCRYPT, acme_server="staging")
    for each in (it, staging, it, staging):
        assert maintain(each)[0] == 0
        assert renewal.due(each, asking(each)) == ""
    assert len(ca.asked) == 2


def test_a_certificate_with_an_expired_chain_is_renewed(
    host: Path, monkeypatch: pytest.MonkeyPatch, it: DesiredState
) -> None:
    """The new one comes with a newer chain."""
    trust(monkeypatch, host, ROOT)
    path = issued(it, issue(DNS, signer=(OLD_CA, CA_KEY)), OLD_CA)
    assert due(it) == f"the chain in {path} has expired; use the authority's newer chain"


def test_an_expired_certificate_is_renewed(it: DesiredState) -> None:
    """Clients refuse it."""
    path = issued(it, signed(starts=-90, days=-1), CA)
    assert due(it) == f"{path} has expired"


def test_a_certificate_without_our_name_is_renewed(it: DesiredState) -> None:
    """Even if its first line names the right request."""
    path = issued(it, signed(FURTHER), CA)
    assert due(it) == f"{path} doesn't cover cal.example.org"


def test_a_certificate_that_is_not_valid_yet_is_not_renewed(it: DesiredState) -> None:
    """The clock is wrong. A new one would have the same fault, and each counts against the limits."""
    issued(it, signed(starts=1), CA)
    assert due(it) == ""


@pytest.mark.parametrize("life", [90, 45, 6])
def test_a_certificate_is_renewed_after_two_thirds_of_its_lifetime(it: DesiredState, clock: Clock, life: int) -> None:
    """At random a little earlier, so that the hosts of a fleet don't all ask at once."""
    delays = set()
    for _ in range(8):
        path = issued(it, signed(starts=0, days=life - 0.5), CA)
        begun = selection.read_pair(it, path).begins
        at = renewal.renewal_time(selection.read_pair(it, path))
        assert (LIFE - SPREAD) * life * DAY_S <= at - begun <= LIFE * life * DAY_S
        assert at == renewal.renewal_time(selection.read_pair(it, path)), "the random part is the same for each call"
        delays.add(round(at - begun))
        clock.now = at - 1
        assert due(it) == ""
        clock.now = at + 1
        assert due(it) == f"it has {selection.read_pair(it, path).days_left} days left"
    assert len(delays) > 4


def test_an_issued_certificate_is_used_at_once(it: DesiredState, ca: Authority) -> None:
    """A self-signed one is served until then. Each step is reported."""
    ca.answer = issues
    status, messages = maintain(it)
    assert status == 0
    assert messages == [
        f"make a self-signed certificate: {selection.issued_path(it)} is not there",
        "request a certificate from Let's Encrypt for cal.example.org",
        f"use the certificate in {selection.issued_path(it)}",
    ]
    assert selection.read_pair(it, selection.serving_pair(it)).days_left == 89
    assert maintain(it) == (0, [])
    assert len(ca.asked) == 1
    assert not Path(paths.ATTEMPTS).exists()


def test_all_names_of_the_request_are_reported(it: DesiredState, ca: Authority) -> None:
    """Of what is asked for."""
    assert it.names
    more = declared(**LETSENCRYPT, hostnames=["dav.example.org"])
    assert "request a certificate from Let's Encrypt for cal.example.org, dav.example.org" in maintain(more)[1]
    assert len(ca.asked) == 1


def test_a_refusal_is_reported_with_the_time_of_the_next_attempt(it: DesiredState, ca: Authority) -> None:
    """Exit status 75 means that something remains to be done. The old certificate stays in use."""
    issued(it, signed(starts=-90, days=2), CA)
    status, messages = maintain(it)
    assert status == NOT_YET == 75
    again = output.utc(ca.asked[0] + 600)
    assert messages[-1] == f"{REFUSAL.reason}; {REFUSAL.remedy}; the next request is after {again}"
    assert selection.read_pair(it, selection.serving_pair(it)).days_left == 2


def test_times_are_shown_in_utc() -> None:
    """Logs and authorities use it too."""
    assert output.utc(1_795_581_059) == "2026-11-25 04:30 UTC"


def test_delays_between_attempts_grow_to_a_day(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """Ten minutes, a hundred minutes, then a day, however often the command runs."""
    maintain(it)
    for times, delay in enumerate((600, 6000, DAY_S, DAY_S, DAY_S), start=1):
        clock.wait(delay - 1)
        for _ in range(3):
            assert maintain(it, QUIET)[0] == NOT_YET
        assert len(ca.asked) == times
        clock.wait(1)
        assert maintain(it, QUIET)[0] == NOT_YET
        assert len(ca.asked) == times + 1


def test_a_success_deletes_the_earlier_failures(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """The next failure has the shortest delay again."""
    maintain(it)
    clock.wait(601)
    ca.answer = issues
    assert maintain(it)[0] == 0
    ca.answer = lambda _: REFUSAL
    selection.issued_path(it).unlink()
    maintain(it)
    clock.wait(601)
    maintain(it)
    assert len(ca.asked) == 4


def test_a_run_during_the_delay_reports_reason_and_time(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """A timer's run (--quiet) doesn't repeat it."""
    maintain(it)
    clock.wait(10)
    status, messages = maintain(it)
    assert status == NOT_YET
    assert len(messages) == 1
    assert messages[0].startswith(
        "cal.example.org: connection refused; let port 80 lead here; the next request is after"
    )
    assert maintain(it, QUIET) == (NOT_YET, [])
    assert len(ca.asked) == 1


def test_now_allows_four_attempts_per_hour(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """The authority allows five failures. Attempts of the timer count too."""
    for number in range(10):
        assert maintain(it, NOW if number else None)[0] == NOT_YET
        clock.wait(60)
    assert len(ca.asked) == PATIENCE == 4
    messages = maintain(it, NOW)[1]
    assert messages[-1].endswith(f"the next request is after {output.utc(ca.asked[0] + HOUR_S)}")
    clock.now = ca.asked[0] + HOUR_S - 1
    maintain(it, NOW)
    assert len(ca.asked) == 4
    clock.wait(2)
    maintain(it, NOW)
    maintain(it, NOW)
    assert len(ca.asked) == 5, "one attempt is older than an hour"


def test_now_allows_ten_attempts_per_day(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """An operator's timer may run the deploy. Attempts of the timer count too."""
    for _ in range(24 * 4 - 1):
        assert maintain(it, NOW)[0] == NOT_YET
        clock.wait(HOUR_S / 4 + 1)
    assert len(ca.asked) == LASTING_PATIENCE == 10
    assert not renewal.may_request(it)
    messages = maintain(it, NOW)[1]
    assert messages[-1].endswith(f"the next request is after {output.utc(ca.asked[0] + DAY_S)}")
    clock.now = ca.asked[0] + DAY_S - 1
    maintain(it, NOW)
    assert len(ca.asked) == 10
    clock.wait(2)
    assert renewal.may_request(it)
    maintain(it, NOW)
    maintain(it, NOW)
    assert len(ca.asked) == 11, "one attempt is older than a day"


def test_now_and_renew_respect_the_authoritys_own_delay(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """It would only refuse again."""
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=5000)
    for options in (None, NOW, RENEW, NOW):
        maintain(it, options)
        clock.wait(1000)
    assert len(ca.asked) == 1
    clock.wait(1001)
    maintain(it)
    assert len(ca.asked) == 2
    ca.answer = lambda _: REFUSAL
    clock.wait(5001)
    maintain(it, NOW)
    assert len(ca.asked) == 2, "our second delay is longer than the authority's"
    clock.wait(1000)
    maintain(it)
    maintain(it, NOW)
    assert len(ca.asked) == 4, "after the delay, --now works again"


@pytest.mark.parametrize("wait_s", [0, 1, 599, 601, 50_000, 100_000])
def test_the_longer_of_both_delays_applies(it: DesiredState, ca: Authority, clock: Clock, wait_s: float) -> None:
    """Even if an authority allows the next request after one second, ours comes later."""
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=wait_s)
    for number, delay in enumerate((600, 6000, DAY_S), start=1):
        maintain(it)
        assert len(ca.asked) == number
        clock.wait(max(delay, wait_s) - 1)
        maintain(it)
        assert len(ca.asked) == number
        clock.wait(2)


@pytest.mark.parametrize(
    "changed",
    [{"hostnames": ["dav.example.org"]}, {"acme_server": "staging"}, {"acme_key_type": "rsa"}],
    ids=["names", "server", "key"],
)
@pytest.mark.parametrize("wait_s", [0, 5000])
def test_a_corrected_setting_needs_no_delay(
    it: DesiredState, ca: Authority, changed: dict[str, object], wait_s: float
) -> None:
    """Failures of other settings don't count."""
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=wait_s)
    maintain(it)
    other = declared(**LETSENCRYPT | changed)
    maintain(other)
    maintain(other)
    assert len(ca.asked) == 2


@pytest.mark.parametrize("name", ["CERTBOT", "DNS_CREDENTIALS"])
def test_a_corrected_secret_needs_no_delay(it: DesiredState, ca: Authority, name: str) -> None:
    """It is in a file that certbot reads. Only its fingerprint is stored."""
    path = Path(getattr(paths, name))
    path.write_text("secret = wrong-secret\n", encoding="ascii")
    maintain(it)
    maintain(it)
    path.write_text("secret = right-secret\n", encoding="ascii")
    maintain(it)
    maintain(it)
    assert len(ca.asked) == 2
    assert "secret =" not in Path(paths.ATTEMPTS).read_text(encoding="utf-8")
    assert stat.S_IMODE(Path(paths.ATTEMPTS).stat().st_mode) == 0o600


def test_another_email_address_keeps_the_delay(it: DesiredState, ca: Authority) -> None:
    """It doesn't change the account, so the authority would answer the same."""
    path = Path(paths.CERTBOT)
    path.write_text("email = ops@example.org\nserver = x\n", encoding="ascii")
    maintain(it)
    path.write_text("email = other@example.org\nserver = x\n", encoding="ascii")
    maintain(it)
    assert len(ca.asked) == 1
    path.write_text("email = other@example.org\nserver = y\n", encoding="ascii")
    maintain(it)
    assert len(ca.asked) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b"7", b"\xff", b'{"times": 3}'])
def test_a_damaged_attempts_file_is_ignored(it: DesiredState, ca: Authority, content: bytes) -> None:
    """It causes at most one more request."""
    Path(paths.ATTEMPTS).write_bytes(content)
    maintain(it)
    maintain(it)
    assert len(ca.asked) == 1


def test_attempts_in_the_future_are_ignored(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """They come from a clock that was wrong."""
    clock.wait(400 * DAY_S)
    maintain(it)
    clock.wait(-400 * DAY_S)
    maintain(it)
    assert len(ca.asked) == 2


def die(_: DesiredState) -> Refusal | None:
    """Simulate a kill, as an answer of :class:`Authority`."""
    raise KeyboardInterrupt


def test_an_interrupted_attempt_in_the_future_is_ignored(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """It has no time among the failures, but a time for the next attempt."""
    ca.answer = die
    clock.wait(400 * DAY_S)
    with pytest.raises(KeyboardInterrupt):
        maintain(it)
    clock.wait(-400 * DAY_S)
    ca.answer = issues
    assert maintain(it)[0] == 0
    assert len(ca.asked) == 2


def test_the_longest_delay_of_an_authority_is_respected(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """It isn't taken for a wrong clock."""
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=acme_errors.LONGEST_S)
    maintain(it)
    maintain(it, NOW)
    clock.wait(acme_errors.LONGEST_S - 1)
    maintain(it, NOW)
    assert len(ca.asked) == 1
    clock.wait(2)
    maintain(it)
    assert len(ca.asked) == 2


def test_an_interrupted_attempt_is_followed_by_a_delay(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """Otherwise a machine that loses power at each request would repeat it without end."""
    ca.answer = die
    with pytest.raises(KeyboardInterrupt):
        maintain(it)
    again = output.utc(ca.asked[0] + 600)
    expected = f"a request is running or was interrupted; wait; the next request is after {again}"
    assert maintain(it) == (NOT_YET, [expected])
    clock.wait(599)
    maintain(it)
    assert len(ca.asked) == 1
    clock.wait(1)
    ca.answer = issues
    assert maintain(it)[0] == 0
    assert len(ca.asked) == 2


def test_an_interrupted_attempt_does_not_count_as_a_failure(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """Only failures count against the limits and make the delays longer."""
    ca.answer = die
    for _ in range(PATIENCE + 1):
        with pytest.raises(KeyboardInterrupt):
            maintain(it, NOW)
        assert renewal.may_request(it)
    ca.answer = lambda _: REFUSAL
    maintain(it, NOW)
    asked = len(ca.asked)
    clock.wait(599)
    maintain(it)
    assert len(ca.asked) == asked
    clock.wait(1)
    maintain(it)
    assert len(ca.asked) == asked + 1, "the first delay is still the shortest"


def test_a_running_attempt_is_visible_to_the_check(it: DesiredState, ca: Authority) -> None:
    """The check doesn't wait for it."""

    def answer(_: DesiredState) -> Refusal | None:
        running = attempts.last_attempts(it, asking(it))
        assert running is not None
        assert (running.reason, running.remedy) == ("a request is running or was interrupted", "wait")
        assert (running.times, running.limited) == ((), False)
        return REFUSAL

    ca.answer = answer
    assert maintain(it)[1][-1].startswith(REFUSAL.reason)
    assert len(ca.asked) == 1


def test_no_request_is_made_if_attempts_cannot_be_stored(
    it: DesiredState, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, the requests would repeat without a delay."""
    issued(it, signed(starts=-90, days=2), CA)
    maintain(it)
    Path(paths.ATTEMPTS).unlink()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match=r"attempts\.json can't be written \(No space left on device\)"):
        maintain(it)
    assert len(ca.asked) == 1


def test_renew_replaces_a_good_certificate(it: DesiredState, ca: Authority) -> None:
    """For example after its key became known. The new one is used at once."""
    issued(it)
    maintain(it)
    before = selection.serving_pair(it).read_text(encoding="utf-8")
    assert maintain(it, NOW) == (0, [])
    assert ca.asked == []
    ca.answer = issues
    assert maintain(it, RENEW)[0] == 0
    assert len(ca.asked) == 1
    assert selection.serving_pair(it).read_text(encoding="utf-8") != before


def test_a_failed_renew_keeps_the_good_certificate(it: DesiredState, ca: Authority) -> None:
    """It isn't due, so the timer doesn't ask again."""
    issued(it)
    maintain(it)
    before = selection.serving_pair(it).read_text(encoding="utf-8")
    assert maintain(it, RENEW)[0] == NOT_YET
    assert selection.serving_pair(it).read_text(encoding="utf-8") == before
    assert maintain(it) == (0, [])
    assert len(ca.asked) == 1


def test_two_processes_never_ask_at_the_same_time(it: DesiredState, ca: Authority) -> None:
    """The second one, for example the operator's next to the timer's, reports that and ends at once."""
    maintain(it)
    with (Path(paths.ACME) / "lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert maintain(it, NOW) == (NOT_YET, ["another process is already asking Let's Encrypt"])
    assert len(ca.asked) == 1
    maintain(it, NOW)
    assert len(ca.asked) == 2


def test_only_root_can_open_the_lock(it: DesiredState, ca: Authority) -> None:
    """Whichever umask is set: an account that can open the lock can hold it."""
    previous = os.umask(0)
    try:
        maintain(it)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((Path(paths.ACME) / "lock").stat().st_mode) == 0o600
    assert len(ca.asked) == 1


def test_the_second_process_asks_only_if_a_certificate_is_still_due(
    it: DesiredState, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one may have got one."""
    true_flock = fcntl.flock

    def flock(lock: int, how: int) -> None:
        if how & fcntl.LOCK_NB:
            issued(it)
        true_flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert maintain(it)[0] == 0
    assert ca.asked == []
    assert selection.read_pair(it, selection.serving_pair(it)).days_left == 89


def test_the_data_is_not_locked_while_an_authority_is_asked(it: DesiredState, ca: Authority) -> None:
    """A request takes minutes, and a deploy must not wait for it."""

    def answer(_: DesiredState) -> Refusal:
        with Path(paths.LOCK).open("a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return REFUSAL

    ca.answer = answer
    assert maintain(it)[0] == NOT_YET
    assert len(ca.asked) == 1


@pytest.mark.parametrize("refusal", [None, REFUSAL], ids=["issued", "refused"])
def test_a_request_during_a_deploy_does_not_change_the_served_certificate(
    it: DesiredState, ca: Authority, monkeypatch: pytest.MonkeyPatch, refusal: Refusal | None
) -> None:
    """The deploy has changed the settings; using the old ones would undo its work."""
    Path(paths.DECLARED).write_text(it.to_json(), encoding="utf-8")
    reloads: list[str] = []

    def reload(it: DesiredState, _: object) -> str:
        reloads.append(it.tls)
        return ""

    monkeypatch.setattr(renewal, "reload_if_changed", reload)
    other = declared()

    def answer(asked: DesiredState) -> Refusal | None:
        Path(paths.DECLARED).write_text(other.to_json(), encoding="utf-8")
        issued(asked)
        return refusal

    ca.answer = answer
    take(it)
    before = selection.serving_pair(it).read_text(encoding="utf-8")
    status, messages = maintain(it)
    assert (status, len(messages)) == (NOT_YET if refusal else 0, 2 if refusal else 1)
    assert selection.serving_pair(it).read_text(encoding="utf-8") == before
    assert reloads == []
    Path(paths.DECLARED).write_text(it.to_json(), encoding="utf-8")
    maintain(it)
    assert selection.serving_pair(it).read_text(encoding="utf-8") != before
    assert reloads == ["letsencrypt"]


@pytest.mark.parametrize("content", [None, "", "{}"], ids=["none", "empty", "of another version"])
def test_unreadable_settings_do_not_prevent_the_use_of_a_new_certificate(
    it: DesiredState, ca: Authority, content: str | None
) -> None:
    """Another message reports them."""
    if content is not None:
        Path(paths.DECLARED).write_text(content, encoding="utf-8")
    ca.answer = issues
    assert maintain(it)[0] == 0
    assert not selection.read_pair(it, selection.serving_pair(it)).self_signed


@pytest.mark.parametrize("tls", ["selfsigned", "off"])
def test_no_authority_is_asked_if_none_is_declared(host: Path, ca: Authority, tls: str) -> None:
    """Not even with --renew."""
    assert host.is_dir()
    for options in (None, NOW, RENEW):
        assert maintain(declared(tls=tls), options)[0] == 0
    assert ca.asked == []
    assert not renewal.may_request(declared(tls=tls))


def test_may_request_is_true_if_a_request_is_due_and_allowed(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """The limits of --now apply."""
    assert renewal.may_request(it)
    for _ in range(PATIENCE):
        assert renewal.may_request(it)
        maintain(it, NOW)
    assert not renewal.may_request(it)
    clock.wait(HOUR_S + 1)
    assert renewal.may_request(it)
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=5000)
    maintain(it, NOW)
    assert not renewal.may_request(it)
    issued(it)
    clock.wait(5001)
    assert not renewal.may_request(it), "the certificate is good"


@pytest.mark.parametrize("chain", [(issue(DNS, starts=-300, days=97),), (issue(DNS),)], ids=["old", "new"])
def test_a_container_checks_a_self_signed_certificate_every_hour(
    host: Path, chain: tuple[x509.Certificate, ...]
) -> None:
    """Its renewal depends on the days left, not on the part of its lifetime."""
    assert host.is_dir()
    it = declared()
    put(selection.serving_pair(it), pem(*chain))
    assert renewal.next_check_s(it) == HOUR_S


def test_a_container_checks_files_every_minute(host: Path) -> None:
    """No event reports that they were replaced."""
    assert renewal.next_check_s(operator_files(host, pem(issue(DNS)))) == 60


def test_a_container_sleeps_until_the_next_attempt(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """At least ten seconds and at most an hour. With a good certificate, until it is due."""
    maintain(it)
    assert round(renewal.next_check_s(it)) == 600
    clock.wait(597)
    assert renewal.next_check_s(it) == 10
    clock.wait(4)
    maintain(it)
    assert renewal.next_check_s(it) == HOUR_S, "the delay of 6000 s is longer than an hour"
    path = issued(it)
    assert renewal.next_check_s(it) == HOUR_S
    clock.now = renewal.renewal_time(selection.read_pair(it, path)) - 100
    assert round(renewal.next_check_s(it)) == 100
    clock.wait(200)
    Path(paths.ATTEMPTS).unlink()
    assert renewal.next_check_s(it) == 10
    assert len(ca.asked) == 2


def test_a_container_without_an_attempt_checks_again_within_an_hour(it: DesiredState) -> None:
    """Another container may have stored a certificate."""
    assert renewal.next_check_s(it) == HOUR_S


def test_replaced_files_are_used(host: Path) -> None:
    """It is reported once."""
    it = operator_files(host, pem(issue(DNS)))
    assert maintain(it) == (0, [f"use the certificate in {it.tls_certificate}"])
    assert maintain(it) == (0, [])


def test_certificate_and_key_may_be_replaced_one_after_the_other(host: Path) -> None:
    """That they don't match for a moment isn't reported."""
    maintain(operator_files(host, pem(issue(DNS))))
    it = operator_files(host, pem(issue(DNS, key=OTHER_KEY)), GOOD_KEY)
    complete = threading.Timer(0.2, Path(it.tls_key).write_bytes, [secret(OTHER_KEY)])
    complete.start()
    assert maintain(it, QUIET) == (0, [f"use the certificate in {it.tls_certificate}"])
    complete.join()


def test_files_that_are_replaced_during_a_run_are_used_too(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other event would report the later ones: systemd doesn't start a running unit again."""
    chains = [pem(issue(DNS, days=days)) for days in (50, 60, 70)]
    it = operator_files(host, chains[0])
    later = chains[1:]
    true_take = renewal._use

    def take_(it: DesiredState, say: Callable[[str], None]) -> None:
        true_take(it, say)
        if later:
            path = Path(it.tls_certificate).with_suffix(".new")
            path.write_bytes(later.pop(0))
            path.replace(it.tls_certificate)

    monkeypatch.setattr(renewal, "_use", take_)
    assert maintain(it) == (0, [f"use the certificate in {it.tls_certificate}"] * 3)
    assert selection.serving_pair(it).read_bytes() == chains[2] + GOOD_KEY


def test_files_that_change_all_the_time_do_not_block_a_run(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run continues."""
    it = operator_files(host, pem(issue(DNS)))
    rounds: list[int] = []

    def touch(*_: object) -> None:
        rounds.append(1)
        os.utime(it.tls_certificate, ns=(0, len(rounds)))

    monkeypatch.setattr(renewal, "_use", touch)
    assert maintain(it)[0] == 0
    assert len(rounds) == renewal.ROUNDS == 5


def test_files_that_disappear_during_a_run_keep_the_old_pair(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example between two programs that replace them, or if a disk is removed."""
    monkeypatch.setattr(renewal, "COMPLETION_S", -1)
    it = operator_files(host, pem(issue(DNS)))
    maintain(it)
    true_is_file = Path.is_file

    def is_file(path: Path) -> bool:
        result = true_is_file(path)
        if str(path) == it.tls_key:
            path.unlink(missing_ok=True)
        return result

    monkeypatch.setattr(Path, "is_file", is_file)
    Path(it.tls_certificate).unlink()
    expected = f"{it.tls_certificate} is not there; until that is fixed, the old certificate stays in use"
    assert maintain(it) == (NOT_YET, [expected])


def test_broken_files_are_reported_once_to_a_timer(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other runs always report them. A new fault, or the same fault after a repair, is reported again."""
    monkeypatch.setattr(renewal, "COMPLETION_S", -1)
    maintain(operator_files(host, pem(issue(DNS))))
    it = operator_files(host, pem(issue(DNS)), secret(OTHER_KEY))
    broken = (
        f"{it.tls_key} is not the key of {it.tls_certificate}; until that is fixed, the old certificate stays in use"
    )
    assert maintain(it, QUIET) == (NOT_YET, [broken])
    assert maintain(it, QUIET) == (NOT_YET, [])
    assert maintain(it) == (NOT_YET, [broken])
    operator_files(host, pem(issue(DNS)), b"")
    status, messages = maintain(it, QUIET)
    assert (status, len(messages)) == (NOT_YET, 1)
    assert "is no private key in PEM form" in messages[0]
    operator_files(host, pem(issue(DNS)))
    assert maintain(it, QUIET)[0] == 0
    operator_files(host, pem(issue(DNS)), secret(OTHER_KEY))
    assert maintain(it, QUIET) == (NOT_YET, [broken])
    assert selection.read_pair(it, selection.serving_pair(it)).fault() == ""


def test_broken_files_without_an_old_pair_are_an_error(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing that could be served."""
    monkeypatch.setattr(renewal, "COMPLETION_S", -1)
    it = operator_files(host, pem(signed(), CA, ROOT), b"")
    with pytest.raises(HostError, match="is no private key in PEM form"):
        maintain(it)


def test_a_failed_reload_is_reported(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says that something remains to be done."""
    assert host.is_dir()
    monkeypatch.setattr(renewal, "reload_if_changed", lambda *_: "nginx refuses its configuration")
    status, messages = maintain(declared())
    assert (status, messages[-1]) == (NOT_YET, "nginx refuses its configuration")
