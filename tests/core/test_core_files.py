"""Files written whole, flushed and as private as asked for; locks; the folder of the cache."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import numpy as np
import pytest

from busi.core.files import (
    conf_dir,
    default_cache_dir,
    expand,
    flush_all,
    read_kept,
    write_json,
    write_text,
    write_whole,
    writing_cache,
    writing_to,
)
from busi.core.folders import check_new, check_overwritten, walk, whole_folder
from busi.core.locks import hold
from busi.core.tables import write_table
from busi.core.types import InputError


@pytest.mark.parametrize("value", [None, "~/elsewhere", "/somewhere/cache"])
def test_config_and_commands_have_the_same_cache(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("BUSI_CACHE", raising=False)
    else:
        monkeypatch.setenv("BUSI_CACHE", value)
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        composed = hydra.compose("train")
    assert Path(composed.cache_dir).expanduser() == default_cache_dir()


def test_unknown_home_folder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    with pytest.raises(InputError, match="~nobody-has-this-name/x: there is no such home folder"):
        expand("~nobody-has-this-name/x")
    monkeypatch.delenv("BUSI_CACHE", raising=False)
    monkeypatch.setattr(Path, "expanduser", nobody)
    with pytest.raises(InputError, match="set BUSI_CACHE=FOLDER"):
        default_cache_dir()


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"), hold(tmp_path / "file" / "run"):
        pass


def test_what_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    words = rf"cannot write to {tmp_path}: Is a directory\. Give another folder"
    with pytest.raises(InputError, match=words), writing_to(tmp_path):
        tmp_path.write_text("x")
    with pytest.raises(OSError, match="a library's own"), writing_to(tmp_path):
        raise OSError("a library's own")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (errno.EACCES, "cannot write to {0}: Permission denied. Make that possible, or give another cache"),
        (errno.ENOSPC, "cannot write any more: No space left on device. Make room in {0}, or give another"),
    ],
)
def test_cache_that_cannot_be_written_is_an_error(tmp_path: Path, reason: int, words: str) -> None:
    with pytest.raises(InputError) as caught, writing_cache(tmp_path):
        raise OSError(reason, os.strerror(reason))
    assert words.format(tmp_path) in str(caught.value)
    assert "BUSI_CACHE=FOLDER" in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "[1, 2"])
def test_kept_file_that_is_missing_or_damaged_is_made_again(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert read_kept(path) is None
    assert read_kept(write_json(path, [1, 2])) == [1, 2]


def test_kept_file_that_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    assert read_kept(tmp_path / "x.json") is None
    (tmp_path / "file").touch()
    assert read_kept(tmp_path / "file" / "x.json") is None


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_files_are_as_private_as_the_user_asks(
    tmp_path: Path, umask: Callable[[int], int], mask: int, mode: int
) -> None:
    from busi.data.cache import load_array
    from busi.figures.contours import draw_confusions, save_figure

    umask(mask)
    write_table(tmp_path / "table.csv", [{"id": "a patient"}])
    write_json(tmp_path / "x.json", "a patient")
    write_text(tmp_path / "x.txt", "a patient")
    save_figure(draw_confusions({"": np.eye(3, dtype=int)}), tmp_path / "figure.png")
    load_array(tmp_path / "array.npy", (2, 2), lambda _: None)
    with whole_folder(tmp_path / "new" / "folder") as folder:
        (folder / "inside.txt").touch()
    with hold(tmp_path):
        pass
    paths = list(tmp_path.rglob("*"))
    assert len(paths) == 9
    for path in paths:
        wanted = mode | mode >> 2 & 0o111 if path.is_dir() else mode
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


@pytest.mark.parametrize("name", ["x" * 250 + ".png", "ü" * 125 + ".csv", "x." + "y" * 250])
def test_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_failed_writer_leaves_the_old_file_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")

    def fail(part: Path) -> None:
        part.write_text("half of the n")
        raise ValueError

    with pytest.raises(ValueError, match="^$"):
        write_whole(tmp_path / "x", fail)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]


def test_failed_folder_does_not_appear(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "new") as part:
            (part / "file").touch()
            raise ValueError

    with pytest.raises(ValueError, match="^$"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_replaced_folder_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "old").touch()

    def write(name: str, fail: bool) -> None:
        with whole_folder(tmp_path / "one", replace=True) as part:
            assert (tmp_path / "one" / "old").exists()
            (part / name).touch()
            if fail:
                raise ValueError

    with pytest.raises(ValueError, match="^$"):
        write("half", fail=True)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["one", "one/old"]
    write("new", fail=False)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["one", "one/new"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "one").rename(tmp_path / "elsewhere" / "one")
    (tmp_path / "one").symlink_to("elsewhere/one")
    (tmp_path / "one" / "old").touch()
    write("newer", fail=False)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["elsewhere", "elsewhere/one", "elsewhere/one/newer", "one"]


def test_folder_that_cannot_be_put_in_its_place_leaves_the_old_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "old").touch()
    rename, calls = Path.rename, []

    def fail_second(path: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == 2:
            raise OSError(errno.EIO, "broken")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(OSError, match="broken"), whole_folder(tmp_path / "one", replace=True):
        pass
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["one", "one/old"]


def test_what_a_command_would_overwrite_is_named_once_it_holds_something(tmp_path: Path) -> None:
    check_overwritten(tmp_path / "new", ("a.csv", "maps"), "evaluation")
    (tmp_path / "maps").mkdir()
    check_overwritten(tmp_path, ("a.csv", "maps"), "evaluation")
    (tmp_path / "maps" / "x.png").touch()
    with pytest.raises(InputError, match="holds maps, which no evaluation left there: give another folder"):
        check_overwritten(tmp_path, ("a.csv", "maps"), "evaluation")
    (tmp_path / "a.csv").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"holds a\.csv"):
        check_overwritten(tmp_path, ("a.csv",), "evaluation")


def test_a_new_folder_is_not_there_or_empty(tmp_path: Path) -> None:
    check_new(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for taken in (tmp_path, tmp_path / "file", tmp_path / "link"):
        with pytest.raises(InputError, match="is not empty: give a new folder"):
            check_new(taken)
    with pytest.raises(InputError, match="cannot write to x+: .* Give another folder"):
        check_new(Path("x" * 300))


def test_folders_are_walked_through_links_each_once(tmp_path: Path) -> None:
    top, elsewhere = tmp_path / "top", tmp_path / "elsewhere"
    (top / "b").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (top / "b" / "one", elsewhere / "two"):
        path.touch()
    for name, target in (("a", top / "b"), ("c", elsewhere), ("d", elsewhere), ("up", tmp_path)):
        (top / name).symlink_to(target)
    found = {str((folder / name).relative_to(top)) for folder, _, names in walk(top) for name in names}
    assert found == {"b/one", "c/two"}  # by its own path before that of a link


class Disk:
    """Notes what is flushed and renamed, in order; inodes stand for files, which get other names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, int]] = []
        monkeypatch.setattr(os, "fsync", self.fsync)
        for name in ("replace", "rename"):
            monkeypatch.setattr(Path, name, self.moving(getattr(Path, name)))

    def fsync(self, handle: int) -> None:
        self.done.append(("flushed", os.fstat(handle).st_ino))

    def moving(self, move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(path: Path, to: Path) -> Path:
            self.done.append(("renamed", path.stat().st_ino))
            return move(path, to)

        return moved


def test_file_is_flushed_before_it_is_renamed_and_its_name_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = Disk(monkeypatch)
    path = write_text(tmp_path / "a" / "b" / "x", "x")
    file, folders = (
        path.stat().st_ino,
        [p.stat().st_ino for p in (tmp_path / "a" / "b", tmp_path / "a", tmp_path)],
    )
    renamed = disk.done.index(("renamed", file))
    assert ("flushed", file) in disk.done[:renamed]
    assert ("flushed", folders[0]) in disk.done[renamed:]
    assert {("flushed", number) for number in folders[1:]} <= set(disk.done)


def test_folder_is_flushed_with_all_in_it_before_it_is_renamed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = Disk(monkeypatch)
    with whole_folder(tmp_path / "new") as part:
        (part / "below").mkdir()
        (part / "below" / "file").touch()
    new = tmp_path / "new"
    renamed = disk.done.index(("renamed", new.stat().st_ino))
    below = {("flushed", p.stat().st_ino) for p in (new, new / "below", new / "below" / "file")}
    assert below <= set(disk.done[:renamed])
    assert ("flushed", tmp_path.stat().st_ino) in disk.done[renamed:]


def test_what_others_wrote_is_flushed_and_the_way_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "overrides.yaml").touch()
    os.mkfifo(tmp_path / "run" / "pipe")
    disk = Disk(monkeypatch)
    flush_all(tmp_path / "run")
    way = (tmp_path / "run" / ".hydra" / "overrides.yaml", tmp_path / "run" / ".hydra", tmp_path / "run")
    assert {("flushed", path.stat().st_ino) for path in (*way, tmp_path)} <= set(disk.done)


def test_file_system_that_flushes_no_folders_is_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    assert write_text(tmp_path / "x", "x").read_text() == "x"


def test_disk_that_fails_to_flush_is_an_error_and_keeps_the_old_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = write_text(tmp_path / "x", "old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(path, "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]


@pytest.mark.parametrize("reason", ["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
def test_file_system_without_locks_is_used_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    def lockf(*_: object) -> None:
        raise OSError(getattr(errno, reason), "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with hold(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert "has no locks" in caplog.text
    assert "start one process at a time there" in caplog.text


def test_lock_that_fails_for_another_reason_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lockf(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with (
        pytest.raises(InputError, match="cannot lock .*: Input/output error. Give another folder"),
        hold(tmp_path),
    ):
        pass


def test_a_folder_that_is_flushed_stays_held(tmp_path: Path) -> None:
    """POSIX: closing any file of a process lets go of its lock there, also one opened for something else."""
    other = (
        "import sys; from pathlib import Path; from busi.core.locks import hold\n"
        "with hold(Path(sys.argv[1])): pass"
    )
    with hold(tmp_path):
        flush_all(tmp_path)
        done = subprocess.run([sys.executable, "-c", other, str(tmp_path)], capture_output=True, check=False)
        assert b"is in use" in done.stderr
    subprocess.run([sys.executable, "-c", other, str(tmp_path)], check=True)
