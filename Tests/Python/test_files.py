"""Files that Python writes: whole or not at all, by one process at a time."""

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from plp._files import sole_writer
from test_history import history
from test_study import made_up

WRITERS = {
    "study.json": lambda path: made_up().save(path),
    "study.png": lambda path: made_up().plot(path),
    "curves.png": lambda path: history().plot(path),
    "report.html": lambda path: made_up().report(path),
}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    """A path and what writes there."""
    return tmp_path / request.param, WRITERS[request.param]


@contextmanager
def disk_full_after(count):
    """A limit on the size of files, which stands for a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_leaves_the_older_file(written, tmp_path):
    path, write = written
    path.write_bytes(b"older")
    with disk_full_after(1000), pytest.raises(OSError) as error:
        write(path)
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_that_the_mask_leaves(written):
    path, write = written
    before = os.umask(0o027)
    try:
        write(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_replaced_file_keeps_its_mode_and_owner(written):
    path, write = written
    path.touch()
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    write(path)
    after = path.stat()
    assert after.st_ino != before.st_ino and after.st_size > 0
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@pytest.mark.parametrize("exists", [True, False])
def test_links_are_followed(written, tmp_path, exists):
    path, write = written
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    if exists:
        target.touch()
    path.symlink_to(target)
    write(path)
    assert path.is_symlink() and target.stat().st_size > 0


def test_what_is_no_file_is_refused(written):
    path, write = written
    path.mkdir()
    with pytest.raises(OSError, match="not a regular file") as error:
        write(path)
    assert error.value.filename == str(path)


def test_a_pipe_is_refused(written):
    path, write = written
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        write(path)
    assert path.is_fifo()


def test_a_missing_folder_is_named(written, tmp_path):
    _, write = written
    with pytest.raises(FileNotFoundError) as error:
        write(tmp_path / "missing" / "file.png")
    assert error.value.filename == str(tmp_path / "missing" / "file.png")


def test_what_killed_processes_left_is_removed(written, tmp_path):
    path, write = written
    abandoned = tmp_path / f"{path.name}.0123456789abcdef.partial"
    held = tmp_path / f"{path.name}.fedcba9876543210.partial"
    others = [tmp_path / f"{path.name}.mine.partial", tmp_path / f"x{path.name}.0123456789abcdef.partial"]
    for file in (abandoned, held, *others):
        file.touch()
    with held.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write(path)
    assert set(tmp_path.iterdir()) == {path, held, *others}


def test_the_lock_is_no_link(tmp_path):
    """To a file that would be emptied."""
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / ".study.json.lock").symlink_to("thesis.tex")
    with pytest.raises(OSError, match="a link, expected a lock of plp's: .*lock"), sole_writer(tmp_path / "study.json"):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_lock_is_that_of_the_file_and_not_of_its_names(tmp_path):
    (tmp_path / "link.json").symlink_to("study.json")
    with sole_writer(tmp_path / "study.json"), pytest.raises(OSError, match="in use"):
        with sole_writer(tmp_path / "link.json"):
            pass


def test_a_forked_process_does_not_keep_the_lock(tmp_path):
    with sole_writer(tmp_path / "study.json"):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        with sole_writer(tmp_path / "study.json"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


FORKED = """
import os, signal, sys
from plp._files import sole_writer
with sole_writer("study.json"):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        signal.pause()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_forked_from_a_killed_one_does_not_keep_the_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", FORKED], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        process.wait()
        try:
            with sole_writer(tmp_path / "study.json"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_process_that_leaves_does_not_let_go_of_the_lock(tmp_path):
    try:
        with sole_writer(tmp_path / "study.json"):
            child = os.fork()
            if child == 0:
                raise SystemExit
            os.waitpid(child, 0)
            with pytest.raises(OSError, match="in use"), sole_writer(tmp_path / "study.json"):
                pass
    except SystemExit:
        os._exit(0)


# A file system that answers so is not to be had everywhere; this stands before the system's own call.
FOLDERS_ANSWER = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int fsync(int file)
{
    struct stat status;
    if (fstat(file, &status) || !S_ISDIR(status.st_mode)) return syscall(SYS_fsync, file);
    errno = ANSWER;
    return -1;
}
"""
SAVE = """
import plp, sys
from plp._files import write_whole
saves = {"library": plp.Model("resnet18", width=1 / 64).save, "python": lambda path: write_whole(path, b"content")}
try:
    saves[sys.argv[1]]("saved")
except OSError as error:
    sys.exit(error.errno)
"""


@pytest.mark.parametrize("writer", ["library", "python"])
@pytest.mark.parametrize("answer, expected", [("EINVAL", 0), ("EIO", errno.EIO)])
def test_a_folder_that_cannot_be_flushed_is_no_failure(tmp_path, writer, answer, expected):
    command = ["gcc", "-shared", "-fPIC", f"-DANSWER={answer}", "-x", "c", "-", "-o", tmp_path / "answers.so"]
    subprocess.run(command, input=FOLDERS_ANSWER, text=True, check=True)
    preloaded = {**os.environ, "LD_PRELOAD": str(tmp_path / "answers.so")}
    done = subprocess.run([sys.executable, "-c", SAVE, writer], cwd=tmp_path, env=preloaded)
    assert done.returncode == expected and (tmp_path / "saved").stat().st_size > 0
