from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scoutcache.oplog.files import (
    Claim,
    exclusive,
    is_claimed,
    make_folder,
    open_private,
    put,
    replace,
    shared,
    was_locked,
)


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folders_are_0700_and_files_0600_whatever_the_umask(tmp_path: Path, umask: None) -> None:
    make_folder(tmp_path / "a" / "b")
    replace(tmp_path / "a" / "b" / "file", b"x")
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b"), mode(tmp_path / "a" / "b" / "file")] == [
        0o700,
        0o700,
        0o600,
    ]


def test_a_symbolic_link_is_never_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(OSError):
        open_private(link, os.O_WRONLY | os.O_CREAT)
    replace(link, b"new")
    assert (target.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"precious", b"new", False)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_of_the_users_own_has_the_rights_that_the_umask_leaves(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        put(tmp_path / "own", b"text", mode=None)
        put(tmp_path / "private", b"text")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("own", "private")] == [mode, 0o600]


def test_a_replacement_that_fails_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(tmp_path / "file", b"old")

    def full(fd: int, content: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        replace(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_claim_holds_while_its_process_lives_and_looking_at_it_does_no_harm(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "a.lock")
    assert [is_claimed(tmp_path / "a.lock") for _ in range(3)] == [True, True, True]
    with pytest.raises(FileExistsError):
        Claim(tmp_path / "a.lock")
    assert is_claimed(tmp_path / "a.lock")
    claim.release()
    assert not is_claimed(tmp_path / "a.lock")


def test_a_killed_process_claims_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom scoutcache.oplog.files import Claim\n"
        "claim = Claim(Path(sys.argv[1]))\nprint('claimed', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_claimed(tmp_path / "a.lock")
        process.kill()
    assert not is_claimed(tmp_path / "a.lock")


def test_who_cant_look_for_want_of_descriptors_takes_nobody_for_dead(tmp_path: Path) -> None:
    """Or a living process's place would be taken away, and an invalidation would not wait for it."""
    claim = Claim(tmp_path / "a.lock")
    (tmp_path / "link").symlink_to(tmp_path / "a.lock")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        claimed = is_claimed(tmp_path / "a.lock")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert claimed
    assert not is_claimed(tmp_path / "link")
    assert not is_claimed(tmp_path / "absent")
    claim.release()


def test_a_claim_whose_file_was_removed_says_so(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "a.lock")
    assert claim.still_there()
    (tmp_path / "a.lock").unlink()
    assert not claim.still_there()
    claim.release()


def test_a_folder_is_held_by_one_thread_at_a_time(tmp_path: Path) -> None:
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(100):
            with exclusive(tmp_path):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_folder_held_by_another_process_is_not_waited_for_unless_asked(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom scoutcache.oplog.files import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with exclusive(tmp_path, wait=False) as held:
            assert not held
        process.kill()
    with exclusive(tmp_path, wait=False) as held:
        assert held


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_child_forked_while_a_folder_is_held_does_not_keep_it(tmp_path: Path) -> None:
    gate_in, gate_out = os.pipe()
    with exclusive(tmp_path):
        child = os.fork()
        if child == 0:
            os.read(gate_in, 1)
            os._exit(0)
    code = "import sys\nfrom pathlib import Path\nfrom scoutcache.oplog.files import exclusive\n"
    code += "with exclusive(Path(sys.argv[1]), wait=False) as held: sys.exit(not held)"
    try:
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0
    finally:
        os.write(gate_out, b"x")
        os.waitpid(child, 0)
        os.close(gate_in)
        os.close(gate_out)


def test_reading_a_folder_that_nobody_ever_locked_needs_no_lock(tmp_path: Path) -> None:
    with shared(tmp_path / "absent") as held:
        assert not held
    assert not was_locked(tmp_path / "absent")
    with exclusive(tmp_path):
        pass
    with shared(tmp_path) as held:
        assert held
    assert was_locked(tmp_path)
    assert not (tmp_path / "absent").exists()
