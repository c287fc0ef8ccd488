"""Arrays are written once, whole and mapped, and the least recently used ones go."""

import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from busi.data.cache import IN_USE, load_array, trim
from busi.data.dataset import BUSIDataset


def fill(value: int, calls: list[int]):  # type: ignore[no-untyped-def]
    def write(array: np.ndarray) -> None:
        calls.append(value)
        array[:] = value

    return write


def test_array_is_written_once_and_cannot_be_changed(tmp_path: Path) -> None:
    calls: list[int] = []
    path = tmp_path / "letterboxed" / "a.npy"
    for _ in range(2):
        array = load_array(path, (3, 4, 4), fill(7, calls))
        assert (array == 7).all()
    assert calls == [7]
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("size", [0, 40, 100])
def test_cut_off_file_is_made_again(tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []
    path = tmp_path / "letterboxed" / "a.npy"
    load_array(path, (3, 4, 4), fill(7, calls))
    os.truncate(path, size)
    assert (load_array(path, (3, 4, 4), fill(7, calls)) == 7).all()
    assert calls == [7, 7]
    assert "damaged" in caplog.text


def test_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    def fail(array: np.ndarray) -> None:
        array[0] = 1
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        load_array(tmp_path / "letterboxed" / "a.npy", (3, 4, 4), fail)
    assert not list((tmp_path / "letterboxed").iterdir())


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "letterboxed" / "a.npy"

    def slow(array: np.ndarray) -> None:
        for row in array:
            time.sleep(0.01)
            row[:] = 7

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_array(path, (8, 4, 4), slow), range(4)))
    assert all((array == 7).all() for array in found)
    assert [file.name for file in path.parent.iterdir()] == ["a.npy"]


def test_trimming_deletes_the_least_recently_used_and_spares_what_is_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    paths = [tmp_path / folder / f"{folder}{i}.npy" for folder in ("letterboxed", "guides") for i in range(2)]
    arrays = [load_array(path, (1000, 32, 32), fill(1, [])) for path in paths]
    for age, path in zip((4, 2, 3, 0), paths, strict=True):
        stat = path.stat()
        os.utime(path, ns=(int((time.time() - age * IN_USE) * 1e9), stat.st_mtime_ns))
    described = tmp_path / "described" / "a.npz"
    described.parent.mkdir()
    described.touch()
    os.utime(described, (time.time() - 5 * IN_USE,) * 2)
    size = paths[0].stat().st_size / 1e9
    trim(tmp_path, 4.5 * size)
    assert all(path.is_file() for path in (*paths, described))
    trim(tmp_path, 2.5 * size)
    assert not described.exists()
    assert [path.is_file() for path in paths] == [False, True, False, True]
    assert [message for message in caplog.messages if "deleted" in message] == [
        f"The cache {tmp_path} is full: deleted the least recently used arrays (3)"
    ]
    trim(tmp_path, 0.0)
    assert [path.is_file() for path in paths] == [False, False, False, True]
    # Who has mapped a file keeps it.
    assert all((array == 1).all() for array in arrays)


def test_trimming_deletes_what_a_killed_writer_left(tmp_path: Path) -> None:
    folder = tmp_path / "guides"
    folder.mkdir()
    for name, days in ((".a-x.npy", 2), (".b-y.npy", 0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - days * 86400,) * 2)
    trim(tmp_path, 1.0)
    assert [path.name for path in folder.iterdir()] == [".b-y.npy"]


def test_opening_an_array_counts_as_use(tmp_path: Path) -> None:
    path = tmp_path / "letterboxed" / "a.npy"
    load_array(path, (1000, 32, 32), fill(1, []))
    os.utime(path, (0, 0))
    load_array(path, (1000, 32, 32), fill(1, []))
    trim(tmp_path, 0.0)
    assert path.is_file()


def test_loader_process_gets_the_path_of_mapped_arrays_not_their_content(tmp_path: Path) -> None:
    def count_up(array: np.ndarray) -> None:
        array.reshape(-1)[:] = np.arange(array.size) % 251

    letterboxed = load_array(tmp_path / "letterboxed" / "a.npy", (50, 2, 64, 64), count_up)
    labels = np.zeros(50, np.int64)
    dataset = BUSIDataset(
        letterboxed, None, np.arange(50), [str(i) for i in range(50)], labels, labels, labels
    )
    sent = pickle.dumps(dataset)
    assert len(sent) < letterboxed.nbytes / 50
    received = pickle.loads(sent)
    assert isinstance(received.letterboxed, np.memmap)
    assert (received[7]["image"] == dataset[7]["image"]).all()


def test_room_is_taken_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to a map without room behind it would kill the process. macOS has no call for it."""
    path = tmp_path / "letterboxed" / "a.npy"
    for number in range(2):
        taken: list[int] = []

        def look(array: np.ndarray, taken: list[int] = taken) -> None:
            assert not array.any()
            (file,) = path.parent.iterdir()
            taken.append(file.stat().st_blocks * 512)
            array[-1] = 7

        assert (load_array(path, (3, 1024, 1024), look)[-1] == 7).all()
        assert taken[0] >= 3 * 2**20
        path.unlink()
        if number == 0:
            monkeypatch.delattr(os, "posix_fallocate", raising=False)
