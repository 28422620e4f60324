"""A folder is held by one process at a time, and by none that is dead."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipseg import folder_lock
from clipseg.errors import OutputError
from clipseg.folder_lock import LOCK_NAME, held
from elsewhere import held_elsewhere, holding


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a folder."""
    with held_elsewhere(tmp_path) as process:
        yield process


def test_another_process_is_refused_and_told_whom_to_end(holder, tmp_path):
    told = rf"is being written by another process \({holder.pid}\); wait for it, end it"
    with pytest.raises(OutputError, match=told), held(tmp_path):
        pytest.fail("two processes hold one folder")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_ends_lets_go_however_it_ends(holder, tmp_path, how):
    holder.send_signal(how)
    holder.wait()
    with held(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == str(os.getpid())


def test_a_child_does_not_hold_on(tmp_path):
    """A loader's worker outlives its parent by some seconds; the same command has to be able to go on at once."""
    with held(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    with child:
        try:
            result = subprocess.run(holding(tmp_path, 0), stdout=subprocess.DEVNULL, check=False)
            assert result.returncode == 0
        finally:
            child.kill()


def test_one_after_the_other(tmp_path):
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        with held(folder):
            assert folder.is_dir()


def test_some_share_a_folder_and_then_nobody_has_it_alone(tmp_path):
    with held_elsewhere(tmp_path, shared=True):
        with held(tmp_path, shared=True):
            pass
        with pytest.raises(OutputError, match="being written by another"), held(tmp_path):
            pytest.fail("it was shared")
        with held(tmp_path, name=".another"):  # which is another thing
            pass
    with held_elsewhere(tmp_path), pytest.raises(OutputError, match="being written"), held(tmp_path, shared=True):
        pytest.fail("it was held alone")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_a_file_system_that_knows_no_locks(tmp_path, monkeypatch, caplog, number):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_lock.fcntl, "lockf", refuse)
    if number == errno.EIO:
        with pytest.raises(OutputError, match="cannot be locked"), held(tmp_path):
            pytest.fail("it was broken")
        return
    with held(tmp_path):
        assert "cannot be locked here (No locks available)" in caplog.text


def test_who_waits_has_it_next(tmp_path):
    with held_elsewhere(tmp_path, seconds=0.5) as process, held(tmp_path, wait=True):
        assert process.poll() is not None or (tmp_path / LOCK_NAME).read_text() == str(os.getpid())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"), held(tmp_path):
        pytest.fail("it was written")


def test_a_file_where_the_folder_should_be(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(OutputError, match=r"file/\.lock cannot be written"), held(Path(path)):
        pytest.fail("it was written")
