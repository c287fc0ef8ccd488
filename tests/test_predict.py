"""The command that predicts files: what it writes, and what it survives."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from busi import Prediction, Predictor
from busi.core.files import hold
from busi.core.types import CLASSES, InputError
from busi.data.dicom import Frame
from busi.data.files import find_sources
from busi.inference.folder import predict_sources
from tests.data.test_dicom import region, write
from tests.data.test_files import make_bomb
from tests.inference.test_predictor import make_image


def predict(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "busi.predict", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def read_rows(output: Path) -> list[dict[str, str]]:
    with (output / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(output: Path) -> list[dict[str, str]]:
    return [{key: x for key, x in row.items() if key != "milliseconds"} for row in read_rows(output)]


def make_folder(folder: Path, num_images: int) -> Path:
    folder.mkdir()
    for k in range(num_images):
        Image.fromarray(make_image(30 + k, 40)).save(folder / f"p ({k}).png")
    return folder


def test_folder_gives_tables_masks_and_overlays(bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 3)
    Image.fromarray(make_image(50, 20)).save(folder / "p (0).jpg")
    (folder / "bad.png").write_bytes(b"x")
    write(
        folder / "scan",
        np.stack([make_image(40, 60)] * 2),
        SequenceOfUltrasoundRegions=[region(5, 3, 50, 33)],
    )
    done = predict("in", "--run", bundle, "--output", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: 1 of 7 could not be used" in done.stderr
    rows = read_rows(tmp_path / "out")
    names = [row["id"] for row in rows]
    assert names == ["bad", "p (0).jpg", "p (0).png", "p (1)", "p (2)", "scan [1]", "scan [2]"]
    assert "no image" in rows[0]["error"]
    for row in rows[1:]:
        assert sum(float(row[f"prob_{name}"]) for name in CLASSES) == pytest.approx(1)
        mask = np.asarray(Image.open(tmp_path / "out" / "masks" / f"{row['id']}.png"))
        assert Image.open(tmp_path / "out" / "overlays" / f"{row['id']}.png").size == mask.shape[::-1]
        assert int(row["pred_area"]) == (mask == 255).sum() == (mask > 0).sum()
        assert set(row["conformal_set"].split()) <= set(CLASSES)
        assert row["refer"] == str(int(len(row["conformal_set"].split()) != 1))
        spacing = 0.1 * 0.2 if row["id"].startswith("scan") else None
        if spacing:
            assert mask.shape == (31, 46)
            assert float(row["pred_area_mm2"]) == pytest.approx(int(row["pred_area"]) * spacing)
        else:
            assert row["pred_area_mm2"] == ""
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    assert [row["id"] for row in written] == names
    assert [row["pred"] or "" for row in written] == [row["pred"] for row in rows]


def test_nothing_of_a_header_is_written_unless_asked_for(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.dcm", make_image(30, 40), PatientID="ID-4711", StudyDate="20200131")
    (tmp_path / "in" / "b.dcm").write_bytes((tmp_path / "in" / "a.dcm").read_bytes()[:-500])
    predict("in", "--run", bundle, "--output", "out", cwd=tmp_path)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(word in content for word in (b"Doe", b"4711", b"20200131")), path
    done = predict("in/a.dcm", "--run", bundle, "--output", "asked", "--header", "PatientID", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_rows(tmp_path / "asked")[0]["header_PatientID"] == "ID-4711"


class Interrupted(Predictor):
    """Is stopped after some batches."""

    left = 0

    def predict(self, frames: Sequence[Frame]) -> Iterator[Prediction]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().predict(frames)


def test_a_stopped_call_goes_on_where_it_was(bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 7)
    write(folder / "scan", np.stack([make_image(40, 60)] * 3))
    sources = find_sources([str(folder)], leave_out=tmp_path / "out")
    predict_sources(Predictor(bundle, batch_size=2), sources, tmp_path / "whole")
    # Ten images are five batches; the file with three is read again from its first.
    for left, needed in ((0, 5), (2, 3), (4, 2)):
        output = tmp_path / f"stopped{left}"
        stopped = Interrupted(bundle, batch_size=2)
        stopped.left = left
        with pytest.raises(KeyboardInterrupt):
            predict_sources(stopped, sources, output)
        assert not (output / "predictions.csv").exists()
        going_on = Interrupted(bundle, batch_size=2)
        going_on.left = needed
        predict_sources(going_on, sources, output)
        assert without_times(output) == without_times(tmp_path / "whole")
        assert sorted(p.name for p in output.iterdir()) == [
            ".lock",
            "masks",
            "overlays",
            "predictions.csv",
            "predictions.json",
        ]


def test_what_changed_is_predicted_again_and_the_rest_is_kept(bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 4)
    (folder / "bad.png").write_bytes(b"x")
    output = tmp_path / "out"

    def call() -> list[dict[str, str]]:
        predict_sources(Predictor(bundle), find_sources([str(folder)], leave_out=output), output)
        return read_rows(output)

    first = call()
    Image.fromarray(make_image(90, 90)).save(folder / "p (1).png")
    Image.fromarray(make_image(20, 20)).save(folder / "bad.png")
    Image.fromarray(make_image(20, 30)).save(folder / "new.png")
    (output / "masks" / "p (2).png").unlink()
    for path in output.glob("masks/*"):
        os.utime(path, ns=(0, 0))
    second = {row["id"]: row for row in call()}
    assert list(second) == ["bad", "new", "p (0)", "p (1)", "p (2)", "p (3)"]
    assert not any(row["error"] for row in second.values())
    kept = [path.stem for path in sorted(output.glob("masks/*")) if path.stat().st_mtime_ns == 0]
    assert kept == ["p (0)", "p (3)"]
    assert [row for row in first if row["id"] in kept] == [second[name] for name in kept]


def test_results_of_other_models_and_files_are_not_mixed(trained: Path, bundle: Path, tmp_path: Path) -> None:
    folder, output = make_folder(tmp_path / "in", 2), tmp_path / "out"
    other = make_folder(tmp_path / "other", 3)
    sources = find_sources([str(folder)], leave_out=output)
    predict_sources(Predictor(bundle), sources, output)
    with pytest.raises(InputError, match="other options"):
        predict_sources(Predictor(bundle, tta="flip"), sources, output)
    with pytest.raises(InputError, match="of other files"):
        predict_sources(Predictor(bundle), find_sources([str(other / "p (2).png")], output), output)
    (output / "predictions.json").write_text("{")
    with pytest.raises(InputError, match="damaged predictions"):
        predict_sources(Predictor(bundle), sources, output)
    with hold(output):
        assert "out is in use" in predict("in", "--run", bundle, "--output", "out", cwd=tmp_path).stderr
    done = predict("in", "--run", trained, "--output", "/proc/nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write to /proc/nowhere")


def test_three_hundred_damaged_files_are_reported_one_by_one(bundle: Path, tmp_path: Path) -> None:
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()
    Image.fromarray(make_image(60, 80)).save(tmp_path / "whole.png")
    scan = write(tmp_path / "scan", make_image(60, 80)).read_bytes()
    whole = (tmp_path / "whole.png").read_bytes()
    dataset = pydicom.dcmread(tmp_path / "scan")
    del dataset.PixelData
    dataset.save_as(tmp_path / "empty", enforce_file_format=True)
    empty = (tmp_path / "empty").read_bytes()
    for k in range(50):
        (folder / f"truncated {k}.png").write_bytes(whole[: rng.integers(1, len(whole) // 2)])
        (folder / f"random {k}.jpg").write_bytes(rng.bytes(500))
        (folder / f"text {k}.tif").write_text("a table, not an image")
        (folder / f"bomb {k}.png").write_bytes(make_bomb(8_000 + k, 8_000))
        (folder / f"scan {k}.dcm").write_bytes(scan[: rng.integers(140, len(scan) - 2_000)])
        (folder / f"empty {k}.dcm").write_bytes(empty)
    Image.fromarray(make_image(60, 80)).save(folder / "zz sound.png")
    done = predict("in", "--run", bundle, "--output", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: 300 of 301 could not be used" in done.stderr
    assert "Traceback" not in done.stderr
    rows = read_rows(tmp_path / "out")
    assert [row["id"] for row in rows if not row["error"]] == ["zz sound"]
    assert len({row["id"] for row in rows}) == 301
    without_pixels = [row["error"] for row in rows if row["id"].startswith("empty")]
    assert all(text.endswith("is a DICOM file without pixels") for text in without_pixels)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(bundle: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "in", 400)
    command = [sys.executable, "-m", "busi.predict", "in", "--run", str(bundle), "--output", "out"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(2, signal.default_int_handler),
    )
    while not (tmp_path / "out" / "masks" / "p (9).png").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130
    assert "Stopped. The same command goes on" in output
    done = predict("in", "--run", bundle, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0
    assert "Going on:" in done.stdout
    assert len(read_rows(tmp_path / "out")) == 400


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from Linux")
def test_memory_does_not_grow_with_the_number_of_files(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(make_image(90, 120)).save(tmp_path / "in" / "0.png")
    for k in range(1, 5000):
        os.link(tmp_path / "in" / "0.png", tmp_path / "in" / f"{k}.png")
    code = (
        "import pathlib, runpy, sys\n"
        f"sys.argv[1:] = ['in', '--run', {str(trained)!r}, '--output', 'out']\n"
        "runpy.run_module('busi.predict', run_name='__main__')\n"
        "print(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Not ru_maxrss, which begins with what the parent had when it started the child.
    assert int(done.stdout.splitlines()[-1]) * 1024 < 1.5e9
    assert len(read_rows(tmp_path / "out")) == 5000
