"""Acting as the data's owner."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.faults import HostError
from baikalctl.privilege import as_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Return a directory that everybody may write to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@as_root
def test_root_acts_as_the_owner_within_the_block_only(monkeypatch: pytest.MonkeyPatch, open_to_all: Path) -> None:
    """Files that are made there are the owner's, and root is root again afterwards, also after a failure."""
    monkeypatch.setattr(paths, "USER", "nobody")
    nobody = pwd.getpwnam("nobody")
    before = (os.geteuid(), os.getegid(), os.getgroups())

    def fail_within() -> None:
        with as_owner():
            assert (os.geteuid(), os.getegid(), os.getgroups()) == (nobody.pw_uid, nobody.pw_gid, [])
            raise LookupError("within")

    with as_owner():
        (open_to_all / "made").touch()
    assert (open_to_all / "made").stat().st_uid == nobody.pw_uid
    with pytest.raises(LookupError, match="within"):
        fail_within()
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


@as_root
def test_the_owner_cannot_read_what_is_roots(monkeypatch: pytest.MonkeyPatch, open_to_all: Path) -> None:
    """A link from the data to a secret of root's leads nowhere."""
    monkeypatch.setattr(paths, "USER", "nobody")
    secret = open_to_all / "secret"
    secret.touch(mode=0o600)
    with as_owner(), pytest.raises(PermissionError):
        secret.read_bytes()


@as_root
def test_a_host_without_the_account_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the remedy."""
    monkeypatch.setattr(paths, "USER", "no-such-account")
    with pytest.raises(HostError, match=r"there is no account no-such-account: .*run the deploy first"), as_owner():
        pass


def test_an_ordinary_user_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that runs as the owner, there is nothing to become."""
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(paths, "USER", "no-such-account")
    before = (os.getuid(), os.getegid())
    with as_owner():
        assert (os.getuid(), os.getegid()) == before
