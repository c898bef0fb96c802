"""``baikalctl certificate``: when an authority is asked, when not, and what is done with what there is."""

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
    brought,
    issue,
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


HURRY, ANEW, QUIET = Options(skip_delay=True), Options(force=True), Options(quiet=True)
REFUSAL = Refusal(reason="cal.example.org: connection refused", remedy="let port 80 lead here")
DAY_S = 86400


class Clock:
    """A time that goes on when a test says so."""

    def __init__(self) -> None:
        """Begin now."""
        self.now = time.time()

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return what tells the time."""
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    return made


class Authority:
    """In an authority's place: what it answers, and when it was asked."""

    def __init__(self) -> None:
        """Refuse."""
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
    """Return what is declared of a host that asks Let's Encrypt."""
    assert host.is_dir()
    return declared(**LETSENCRYPT)


def asking(it: DesiredState) -> Acme:
    """Return how ``it`` asks."""
    assert it.asking is not None
    return it.asking


def issued(it: DesiredState, *certificates: x509.Certificate) -> Path:
    """Have an authority have issued this chain, for what is declared."""
    first = certbot.first_line(it, asking(it))
    return put(selection.issued_path(it), pem(*certificates or (signed(*names(it)), CA)), first=first)


def names(it: DesiredState) -> tuple[x509.DNSName, ...]:
    """Return the names of a host as a certificate has them."""
    return (DNS, FURTHER) if len(it.names) > 1 else (DNS,)


def issues(it: DesiredState) -> None:
    """Issue, as an answer of :class:`Authority`."""
    issued(it)


def care(it: DesiredState, options: Options | None = None) -> tuple[int, list[str]]:
    """Care for the certificate, and return the status and what was said."""
    said: list[str] = []
    return renewal.maintain(it, said.append, options or Options()), said


def due(it: DesiredState) -> str:
    """Return why a certificate is due."""
    return renewal.due(it, asking(it))


def test_nothing_issued_is_due(it: DesiredState) -> None:
    """Neither is what can't be used."""
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
def test_what_was_issued_for_other_settings_is_due(it: DesiredState, changed: dict[str, object], reason: str) -> None:
    """Even if it would serve; and back again it is not."""
    place = issued(it, signed(DNS, FURTHER), CA)
    other = declared(**LETSENCRYPT | changed)
    assert due(other) == reason
    assert due(it) == ""
    assert place.is_file()


@pytest.mark.usefixtures("host")
def test_what_was_issued_for_names_in_another_order_is_not_due() -> None:
    """They are the same."""
    one, other = (
        declared(**LETSENCRYPT, hostnames=names)
        for names in (["dav.example.org", "a.org"], ["a.org", "dav.example.org"])
    )
    issued(one, signed(DNS, FURTHER, x509.DNSName("a.org")), CA)
    assert due(other) == due(one) == ""


def test_a_trial_elsewhere_costs_nothing(it: DesiredState, ca: Authority) -> None:
    """Whoever tries the staging server and comes back has what was issued before."""
    ca.answer = issues
    staging = declared(**LETSENCRYPT, acme_server="staging")
    for each in (it, staging, it, staging):
        assert care(each)[0] == 0
        assert renewal.due(each, asking(each)) == ""
    assert len(ca.asked) == 2


def test_one_with_an_expired_chain_is_due(host: Path, monkeypatch: pytest.MonkeyPatch, it: DesiredState) -> None:
    """Another one comes with a newer chain."""
    trust(monkeypatch, host, ROOT)
    place = issued(it, issue(DNS, signer=(OLD_CA, CA_KEY)), OLD_CA)
    assert due(it) == f"the chain in {place} has expired; use the authority's newer chain"


def test_an_expired_one_is_due(it: DesiredState) -> None:
    """Of course."""
    place = issued(it, signed(starts=-90, days=-1), CA)
    assert due(it) == f"{place} has expired"


def test_one_without_our_name_is_due(it: DesiredState) -> None:
    """Whatever it says that it was asked for."""
    place = issued(it, signed(FURTHER), CA)
    assert due(it) == f"{place} doesn't cover cal.example.org"


def test_one_of_tomorrow_is_not_due(it: DesiredState) -> None:
    """The clock is wrong: another one would be of tomorrow as well, and each counts against the limits."""
    issued(it, signed(starts=1), CA)
    assert due(it) == ""


@pytest.mark.parametrize("life", [90, 45, 6])
def test_one_is_due_after_two_thirds_of_its_life(it: DesiredState, clock: Clock, life: int) -> None:
    """However long that is; each a little earlier by chance, so that a fleet doesn't ask all at once."""
    moments = set()
    for _ in range(8):
        place = issued(it, signed(starts=0, days=life - 0.5), CA)
        begun = selection.read_pair(it, place).begins
        at = renewal.renewal_time(selection.read_pair(it, place))
        assert (LIFE - SPREAD) * life * DAY_S <= at - begun <= LIFE * life * DAY_S
        assert at == renewal.renewal_time(selection.read_pair(it, place)), "and always the same for the same one"
        moments.add(round(at - begun))
        clock.now = at - 1
        assert due(it) == ""
        clock.now = at + 1
        assert due(it) == f"it has {selection.read_pair(it, place).days_left} days left"
    assert len(moments) > 4


def test_a_certificate_is_asked_for_and_serves_at_once(it: DesiredState, ca: Authority) -> None:
    """Until then a self-signed one does; all of it is said."""
    ca.answer = issues
    status, said = care(it)
    assert status == 0
    assert said == [
        f"make a self-signed certificate: {selection.issued_path(it)} is not there",
        "ask Let's Encrypt for a certificate for cal.example.org",
        f"use the certificate in {selection.issued_path(it)}",
    ]
    assert selection.read_pair(it, selection.serving_pair(it)).days_left == 89
    assert care(it) == (0, [])
    assert len(ca.asked) == 1
    assert not Path(paths.ATTEMPTS).exists()


def test_all_names_are_said(it: DesiredState, ca: Authority) -> None:
    """Of what is asked for."""
    assert it.names
    more = declared(**LETSENCRYPT, hostnames=["dav.example.org"])
    assert "ask Let's Encrypt for a certificate for cal.example.org, dav.example.org" in care(more)[1]
    assert len(ca.asked) == 1


def test_a_refusal_is_told_and_tried_again_later(it: DesiredState, ca: Authority) -> None:
    """Reason, remedy, and when; the status says that something is left, and what served still does."""
    issued(it, signed(starts=-90, days=2), CA)
    status, said = care(it)
    assert status == NOT_YET == 75
    again = output.utc(ca.asked[0] + 600)
    assert said[-1] == f"{REFUSAL.reason}; {REFUSAL.remedy}; Let's Encrypt is asked again after {again}"
    assert selection.read_pair(it, selection.serving_pair(it)).days_left == 2


def test_moments_are_told_as_people_read_them() -> None:
    """In the one time zone that logs and authorities share."""
    assert output.utc(1_795_581_059) == "2026-11-25 04:30 UTC"


def test_an_authority_is_asked_ever_more_rarely(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """After ten minutes, a hundred, and then once a day, however often somebody looks."""
    care(it)
    for times, delay in enumerate((600, 6000, DAY_S, DAY_S, DAY_S), start=1):
        clock.wait(delay - 1)
        for _ in range(3):
            assert care(it, QUIET)[0] == NOT_YET
        assert len(ca.asked) == times
        clock.wait(1)
        assert care(it, QUIET)[0] == NOT_YET
        assert len(ca.asked) == times + 1


def test_a_success_is_forgetting(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """The next time begins anew."""
    care(it)
    clock.wait(601)
    ca.answer = issues
    assert care(it)[0] == 0
    ca.answer = lambda _: REFUSAL
    selection.issued_path(it).unlink()
    care(it)
    clock.wait(601)
    care(it)
    assert len(ca.asked) == 4


def test_whoever_waits_is_told_why_and_until_when(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """Each time that somebody looks, but not each time that a timer does."""
    care(it)
    clock.wait(10)
    status, said = care(it)
    assert status == NOT_YET
    assert len(said) == 1
    assert said[0].startswith(
        "cal.example.org: connection refused; let port 80 lead here; Let's Encrypt is asked again"
    )
    assert care(it, QUIET) == (NOT_YET, [])
    assert len(ca.asked) == 1


def test_somebody_in_a_hurry_is_let_through_four_times_an_hour(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """The authority allows five failures; what was asked by the clock counts too."""
    for number in range(10):
        assert care(it, HURRY if number else None)[0] == NOT_YET
        clock.wait(60)
    assert len(ca.asked) == PATIENCE == 4
    said = care(it, HURRY)[1]
    assert said[-1].endswith(f"Let's Encrypt is asked again after {output.utc(ca.asked[0] + HOUR_S)}")
    clock.now = ca.asked[0] + HOUR_S - 1
    care(it, HURRY)
    assert len(ca.asked) == 4
    clock.wait(2)
    care(it, HURRY)
    care(it, HURRY)
    assert len(ca.asked) == 5, "as many as have left the hour"


def test_somebody_who_is_always_in_a_hurry_is_let_through_ten_times_a_day(
    it: DesiredState, ca: Authority, clock: Clock
) -> None:
    """As a run that a timer does; what was asked by the clock counts too."""
    for _ in range(24 * 4 - 1):
        assert care(it, HURRY)[0] == NOT_YET
        clock.wait(HOUR_S / 4 + 1)
    assert len(ca.asked) == LASTING_PATIENCE == 10
    assert not renewal.may_request(it)
    said = care(it, HURRY)[1]
    assert said[-1].endswith(f"Let's Encrypt is asked again after {output.utc(ca.asked[0] + DAY_S)}")
    clock.now = ca.asked[0] + DAY_S - 1
    care(it, HURRY)
    assert len(ca.asked) == 10
    clock.wait(2)
    assert renewal.may_request(it)
    care(it, HURRY)
    care(it, HURRY)
    assert len(ca.asked) == 11, "as many as have left the day"


def test_an_authoritys_own_time_is_kept_even_in_a_hurry(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """It has said so, and would only refuse again."""
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=5000)
    for manner in (None, HURRY, ANEW, HURRY):
        care(it, manner)
        clock.wait(1000)
    assert len(ca.asked) == 1
    clock.wait(1001)
    care(it)
    assert len(ca.asked) == 2
    ca.answer = lambda _: REFUSAL
    clock.wait(5001)
    care(it, HURRY)
    assert len(ca.asked) == 2, "the second back-off is longer than what the authority wants"
    clock.wait(1000)
    care(it)
    care(it, HURRY)
    assert len(ca.asked) == 4, "and then it is forgotten"


@pytest.mark.parametrize("wait_s", [0, 1, 599, 601, 50_000, 100_000])
def test_the_longer_wait_of_ours_and_theirs_counts(
    it: DesiredState, ca: Authority, clock: Clock, wait_s: float
) -> None:
    """An authority that wants to be asked in a second isn't asked each second."""
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=wait_s)
    for number, delay in enumerate((600, 6000, DAY_S), start=1):
        care(it)
        assert len(ca.asked) == number
        clock.wait(max(delay, wait_s) - 1)
        care(it)
        assert len(ca.asked) == number
        clock.wait(2)


@pytest.mark.parametrize(
    "changed",
    [{"hostnames": ["dav.example.org"]}, {"acme_server": "staging"}, {"acme_key_type": "rsa"}],
    ids=["names", "server", "key"],
)
@pytest.mark.parametrize("wait_s", [0, 5000])
def test_another_wish_is_no_repetition(
    it: DesiredState, ca: Authority, changed: dict[str, object], wait_s: float
) -> None:
    """Whoever has corrected a setting need not wait."""
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=wait_s)
    care(it)
    other = declared(**LETSENCRYPT | changed)
    care(other)
    care(other)
    assert len(ca.asked) == 2


@pytest.mark.parametrize("name", ["CERTBOT", "DNS_CREDENTIALS"])
def test_a_corrected_secret_is_another_wish(it: DesiredState, ca: Authority, name: str) -> None:
    """It stands in what certbot reads; of that, only a fingerprint is remembered."""
    place = Path(getattr(paths, name))
    place.write_text("secret = wrong-secret\n", encoding="ascii")
    care(it)
    care(it)
    place.write_text("secret = right-secret\n", encoding="ascii")
    care(it)
    care(it)
    assert len(ca.asked) == 2
    assert "secret =" not in Path(paths.ATTEMPTS).read_text(encoding="utf-8")
    assert stat.S_IMODE(Path(paths.ATTEMPTS).stat().st_mode) == 0o600


def test_another_address_is_no_other_wish(it: DesiredState, ca: Authority) -> None:
    """No account is changed by it, so the authority would say the same again."""
    place = Path(paths.CERTBOT)
    place.write_text("email = ops@example.org\nserver = x\n", encoding="ascii")
    care(it)
    place.write_text("email = other@example.org\nserver = x\n", encoding="ascii")
    care(it)
    assert len(ca.asked) == 1
    place.write_text("email = other@example.org\nserver = y\n", encoding="ascii")
    care(it)
    assert len(ca.asked) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b"7", b"\xff", b'{"times": 3}'])
def test_a_damaged_memory_is_none(it: DesiredState, ca: Authority, content: bytes) -> None:
    """It costs one question at most."""
    Path(paths.ATTEMPTS).write_bytes(content)
    care(it)
    care(it)
    assert len(ca.asked) == 1


def test_a_clock_that_was_wrong_keeps_nobody_waiting(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """What is remembered of the future isn't so."""
    clock.wait(400 * DAY_S)
    care(it)
    clock.wait(-400 * DAY_S)
    care(it)
    assert len(ca.asked) == 2


def die(_: DesiredState) -> Refusal | None:
    """Be killed, as an answer of :class:`Authority`."""
    raise KeyboardInterrupt


def test_a_clock_that_was_wrong_while_somebody_was_killed_keeps_nobody_waiting(
    it: DesiredState, ca: Authority, clock: Clock
) -> None:
    """An attempt that was interrupted has no time that is counted, but one until which is waited."""
    ca.answer = die
    clock.wait(400 * DAY_S)
    with pytest.raises(KeyboardInterrupt):
        care(it)
    clock.wait(-400 * DAY_S)
    ca.answer = issues
    assert care(it)[0] == 0
    assert len(ca.asked) == 2


def test_an_authoritys_longest_time_is_kept(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """Which is no sign of a clock that was wrong."""
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=acme_errors.LONGEST_S)
    care(it)
    care(it, HURRY)
    clock.wait(acme_errors.LONGEST_S - 1)
    care(it, HURRY)
    assert len(ca.asked) == 1
    clock.wait(2)
    care(it)
    assert len(ca.asked) == 2


def test_after_an_attempt_that_was_killed_the_clock_waits(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """Or else a machine that loses its power while it asks would do so over and over."""
    ca.answer = die
    with pytest.raises(KeyboardInterrupt):
        care(it)
    again = output.utc(ca.asked[0] + 600)
    expected = f"a request is running or was interrupted; wait; Let's Encrypt is asked again after {again}"
    assert care(it) == (NOT_YET, [expected])
    clock.wait(599)
    care(it)
    assert len(ca.asked) == 1
    clock.wait(1)
    ca.answer = issues
    assert care(it)[0] == 0
    assert len(ca.asked) == 2


def test_an_attempt_that_was_killed_is_none_that_was_refused(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """Only what the authority refused counts among those that it limits, and makes the waits longer."""
    ca.answer = die
    for _ in range(PATIENCE + 1):
        with pytest.raises(KeyboardInterrupt):
            care(it, HURRY)
        assert renewal.may_request(it)
    ca.answer = lambda _: REFUSAL
    care(it, HURRY)
    asked = len(ca.asked)
    clock.wait(599)
    care(it)
    assert len(ca.asked) == asked
    clock.wait(1)
    care(it)
    assert len(ca.asked) == asked + 1, "the first wait is still the shortest"


def test_while_an_attempt_is_under_way_it_is_told_as_such(it: DesiredState, ca: Authority) -> None:
    """To the doctor, who doesn't wait for it."""

    def answer(_: DesiredState) -> Refusal | None:
        found = attempts.last_attempts(it, asking(it))
        assert found is not None
        assert (found.reason, found.remedy) == ("a request is running or was interrupted", "wait")
        assert (found.times, found.limited) == ((), False)
        return REFUSAL

    ca.answer = answer
    assert care(it)[1][-1].startswith(REFUSAL.reason)
    assert len(ca.asked) == 1


def test_what_cannot_be_remembered_is_not_tried(
    it: DesiredState, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk an authority would be asked again each time."""
    issued(it, signed(starts=-90, days=2), CA)
    care(it)
    Path(paths.ATTEMPTS).unlink()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match=r"attempts\.json can't be written \(No space left on device\)"):
        care(it)
    assert len(ca.asked) == 1


def test_a_good_certificate_is_asked_for_anew_on_request(it: DesiredState, ca: Authority) -> None:
    """As after its key was lost to somebody; the new one serves at once."""
    issued(it)
    care(it)
    before = selection.serving_pair(it).read_text(encoding="utf-8")
    assert care(it, HURRY) == (0, [])
    assert ca.asked == []
    ca.answer = issues
    assert care(it, ANEW)[0] == 0
    assert len(ca.asked) == 1
    assert selection.serving_pair(it).read_text(encoding="utf-8") != before


def test_a_refusal_of_a_new_one_leaves_the_good_one(it: DesiredState, ca: Authority) -> None:
    """And isn't due, so the clock doesn't ask again."""
    issued(it)
    care(it)
    before = selection.serving_pair(it).read_text(encoding="utf-8")
    assert care(it, ANEW)[0] == NOT_YET
    assert selection.serving_pair(it).read_text(encoding="utf-8") == before
    assert care(it) == (0, [])
    assert len(ca.asked) == 1


def test_two_never_ask_at_once(it: DesiredState, ca: Authority) -> None:
    """The timer, and somebody by hand: the second is told, and doesn't wait for minutes."""
    care(it)
    with (Path(paths.ACME) / "lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert care(it, HURRY) == (NOT_YET, ["another process is already asking Let's Encrypt"])
    assert len(ca.asked) == 1
    care(it, HURRY)
    assert len(ca.asked) == 2


def test_the_lock_is_roots_alone(it: DesiredState, ca: Authority) -> None:
    """Whatever the umask is: who may open it may hold it."""
    previous = os.umask(0)
    try:
        care(it)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((Path(paths.ACME) / "lock").stat().st_mode) == 0o600
    assert len(ca.asked) == 1


def test_whoever_comes_second_asks_only_if_that_is_still_due(
    it: DesiredState, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first may have got one in the meantime."""
    true_flock = fcntl.flock

    def flock(lock: int, how: int) -> None:
        if how & fcntl.LOCK_NB:
            issued(it)
        true_flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert care(it)[0] == 0
    assert ca.asked == []
    assert selection.read_pair(it, selection.serving_pair(it)).days_left == 89


def test_the_data_is_not_locked_while_an_authority_is_asked(it: DesiredState, ca: Authority) -> None:
    """That takes minutes, and a deploy must not wait for it."""

    def answer(_: DesiredState) -> Refusal:
        with Path(paths.LOCK).open("a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return REFUSAL

    ca.answer = answer
    assert care(it)[0] == NOT_YET
    assert len(ca.asked) == 1


@pytest.mark.parametrize("refusal", [None, REFUSAL], ids=["issued", "refused"])
def test_whoever_was_overtaken_by_a_deploy_takes_nothing(
    it: DesiredState, ca: Authority, monkeypatch: pytest.MonkeyPatch, refusal: Refusal | None
) -> None:
    """It has brought what serves to other settings meanwhile: to take, by the old ones, would undo that."""
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
    status, said = care(it)
    assert (status, len(said)) == (NOT_YET if refusal else 0, 2 if refusal else 1)
    assert selection.serving_pair(it).read_text(encoding="utf-8") == before
    assert reloads == []
    Path(paths.DECLARED).write_text(it.to_json(), encoding="utf-8")
    care(it)
    assert selection.serving_pair(it).read_text(encoding="utf-8") != before
    assert reloads == ["letsencrypt"]


@pytest.mark.parametrize("content", [None, "", "{}"], ids=["none", "empty", "of another version"])
def test_settings_that_cannot_be_read_overtake_nobody(it: DesiredState, ca: Authority, content: str | None) -> None:
    """Another sentence tells of them; what was issued serves."""
    if content is not None:
        Path(paths.DECLARED).write_text(content, encoding="utf-8")
    ca.answer = issues
    assert care(it)[0] == 0
    assert not selection.read_pair(it, selection.serving_pair(it)).self_signed


@pytest.mark.parametrize("tls", ["selfsigned", "off"])
def test_nobody_is_asked_where_no_authority_is_declared(host: Path, ca: Authority, tls: str) -> None:
    """Not even on request."""
    assert host.is_dir()
    for manner in (None, HURRY, ANEW):
        assert care(declared(tls=tls), manner)[0] == 0
    assert ca.asked == []
    assert not renewal.may_request(declared(tls=tls))


def test_a_deploy_learns_whether_it_may_ask(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """Where it is due, within what somebody in a hurry gets."""
    assert renewal.may_request(it)
    for _ in range(PATIENCE):
        assert renewal.may_request(it)
        care(it, HURRY)
    assert not renewal.may_request(it)
    clock.wait(HOUR_S + 1)
    assert renewal.may_request(it)
    ca.answer = lambda _: dataclasses.replace(REFUSAL, wait_s=5000)
    care(it, HURRY)
    assert not renewal.may_request(it)
    issued(it)
    clock.wait(5001)
    assert not renewal.may_request(it), "there is a good one"


@pytest.mark.parametrize("chain", [(issue(DNS, starts=-300, days=97),), (issue(DNS),)], ids=["old", "new"])
def test_a_container_looks_after_a_self_signed_certificate_once_an_hour(
    host: Path, chain: tuple[x509.Certificate, ...]
) -> None:
    """It is made anew by the days that it has left, not by the part of its life that has gone."""
    assert host.is_dir()
    it = declared()
    put(selection.serving_pair(it), pem(*chain))
    assert renewal.next_check_s(it) == HOUR_S


def test_a_container_looks_after_files_every_minute(host: Path) -> None:
    """Nothing tells it that somebody has replaced them."""
    assert renewal.next_check_s(brought(host, pem(issue(DNS)))) == 60


def test_a_container_sleeps_until_the_next_attempt(it: DesiredState, ca: Authority, clock: Clock) -> None:
    """An hour at most, and a little at least; and with a good certificate, until it is due."""
    care(it)
    assert round(renewal.next_check_s(it)) == 600
    clock.wait(597)
    assert renewal.next_check_s(it) == 10
    clock.wait(4)
    care(it)
    assert renewal.next_check_s(it) == HOUR_S, "6000 s would be too long"
    place = issued(it)
    assert renewal.next_check_s(it) == HOUR_S
    clock.now = renewal.renewal_time(selection.read_pair(it, place)) - 100
    assert round(renewal.next_check_s(it)) == 100
    clock.wait(200)
    Path(paths.ATTEMPTS).unlink()
    assert renewal.next_check_s(it) == 10
    assert len(ca.asked) == 2


def test_a_container_that_never_asked_looks_again_in_time(it: DesiredState) -> None:
    """Somebody else may have been at work."""
    assert renewal.next_check_s(it) == HOUR_S


def test_replaced_files_are_taken_into_service(host: Path) -> None:
    """Which is said, once."""
    it = brought(host, pem(issue(DNS)))
    assert care(it) == (0, [f"use the certificate in {it.tls_certificate}"])
    assert care(it) == (0, [])


def test_files_may_be_replaced_one_after_the_other(host: Path) -> None:
    """In between they don't fit, which isn't worth a word."""
    care(brought(host, pem(issue(DNS))))
    it = brought(host, pem(issue(DNS, key=OTHER_KEY)), GOOD_KEY)
    complete = threading.Timer(0.2, Path(it.tls_key).write_bytes, [secret(OTHER_KEY)])
    complete.start()
    assert care(it, QUIET) == (0, [f"use the certificate in {it.tls_certificate}"])
    complete.join()


def test_files_that_are_replaced_while_they_are_taken_are_taken_again(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would tell of the later ones: systemd starts nothing twice at once."""
    chains = [pem(issue(DNS, days=days)) for days in (50, 60, 70)]
    it = brought(host, chains[0])
    later = chains[1:]
    true_take = renewal._use

    def take_(it: DesiredState, say: Callable[[str], None]) -> None:
        true_take(it, say)
        if later:
            place = Path(it.tls_certificate).with_suffix(".new")
            place.write_bytes(later.pop(0))
            place.replace(it.tls_certificate)

    monkeypatch.setattr(renewal, "_use", take_)
    assert care(it) == (0, [f"use the certificate in {it.tls_certificate}"] * 3)
    assert selection.serving_pair(it).read_bytes() == chains[2] + GOOD_KEY


def test_files_that_never_stay_as_they_are_end_at_some_time(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look goes on."""
    it = brought(host, pem(issue(DNS)))
    rounds: list[int] = []

    def touch(*_: object) -> None:
        rounds.append(1)
        os.utime(it.tls_certificate, ns=(0, len(rounds)))

    monkeypatch.setattr(renewal, "_use", touch)
    assert care(it)[0] == 0
    assert len(rounds) == renewal.ROUNDS == 5


def test_files_that_go_while_somebody_looks_are_no_error(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two programs that replace them, or as a disk is taken away; the old pair goes on serving."""
    monkeypatch.setattr(renewal, "COMPLETION_S", -1)
    it = brought(host, pem(issue(DNS)))
    care(it)
    true_is_file = Path.is_file

    def is_file(path: Path) -> bool:
        found = true_is_file(path)
        if str(path) == it.tls_key:
            path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "is_file", is_file)
    Path(it.tls_certificate).unlink()
    expected = f"{it.tls_certificate} is not there; until that is fixed, the old certificate stays in use"
    assert care(it) == (NOT_YET, [expected])


def test_files_that_stay_broken_are_told_once(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a timer; whoever asks is always told, and what was broken in another way, or anew, is told too."""
    monkeypatch.setattr(renewal, "COMPLETION_S", -1)
    care(brought(host, pem(issue(DNS))))
    it = brought(host, pem(issue(DNS)), secret(OTHER_KEY))
    broken = (
        f"{it.tls_key} is not the key of {it.tls_certificate}; until that is fixed, the old certificate stays in use"
    )
    assert care(it, QUIET) == (NOT_YET, [broken])
    assert care(it, QUIET) == (NOT_YET, [])
    assert care(it) == (NOT_YET, [broken])
    brought(host, pem(issue(DNS)), b"")
    status, said = care(it, QUIET)
    assert (status, len(said)) == (NOT_YET, 1)
    assert "is no private key in PEM form" in said[0]
    brought(host, pem(issue(DNS)))
    assert care(it, QUIET)[0] == 0
    brought(host, pem(issue(DNS)), secret(OTHER_KEY))
    assert care(it, QUIET) == (NOT_YET, [broken])
    assert selection.read_pair(it, selection.serving_pair(it)).fault() == ""


def test_files_that_are_broken_where_nothing_serves_are_an_error(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is nothing to go on with."""
    monkeypatch.setattr(renewal, "COMPLETION_S", -1)
    it = brought(host, pem(signed(), CA, ROOT), b"")
    with pytest.raises(HostError, match="is no private key in PEM form"):
        care(it)


def test_a_web_server_that_does_not_take_it_is_told(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever serves then, something is left to be tried again."""
    assert host.is_dir()
    monkeypatch.setattr(renewal, "reload_if_changed", lambda *_: "nginx refuses its configuration")
    status, said = care(declared())
    assert (status, said[-1]) == (NOT_YET, "nginx refuses its configuration")
