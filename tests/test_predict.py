"""The command that predicts files: what it writes, and what it survives."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from busi import Prediction, Predictor
from busi.core.building import construct
from busi.core.files import write_text
from busi.core.locks import hold
from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError
from busi.data.files import read_gray
from busi.data.frames import Frame
from busi.data.inputs import find_inputs
from busi.inference.folder import predict_files, predict_inputs, predict_items
from busi.runs.run import open_run
from tests.data.test_dicom import region, write
from tests.data.test_files import make_bomb
from tests.inference.test_predictor import make_image
from tests.processes import call


def predict(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return call("busi.predict", *map(str, arguments), cwd=cwd)


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
    for header, words in (
        ([], "holds predictions with another --header: give the same again"),
        (["PatientsID"], "--header PatientsID: DICOM has no element of that name: did you mean PatientID?"),
        (["0010 0020"], "--header 0010 0020: DICOM has no element of that name: give its keyword"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            predict_files([str(tmp_path / "in" / "a.dcm")], tmp_path / "asked", [bundle], header=header)


def test_images_that_the_model_has_seen_are_counted_and_what_it_has_not_is_not(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = construct(open_run(trained).config.data, "data").cohort
    folder = make_folder(tmp_path / "in", 3)
    for split in ("train", "train", "val", "test", "test"):
        i = cohort.indices(split)[len(list(folder.glob(f"{split}*")))]
        Image.fromarray(read_gray(cohort.records[i].image)).save(folder / f"{split}{i}.png")
    caplog.set_level("INFO")
    predict_files([str(folder)], tmp_path / "out", [trained])
    assert "3 of 8 images trained, chose or calibrated the model: they are no test of it" in caplog.text


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
    files = find_inputs([str(folder)], leave_out=tmp_path / "out")
    predict_inputs(Predictor(bundle, batch_size=2), files, tmp_path / "whole")
    # Ten images are five batches; the file with three is read again from its first.
    for left, needed in ((0, 5), (2, 3), (4, 2)):
        output = tmp_path / f"stopped{left}"
        stopped = Interrupted(bundle, batch_size=2)
        stopped.left = left
        with pytest.raises(KeyboardInterrupt):
            predict_inputs(stopped, files, output)
        assert not (output / "predictions.csv").exists()
        going_on = Interrupted(bundle, batch_size=2)
        going_on.left = needed
        predict_inputs(going_on, files, output)
        assert without_times(output) == without_times(tmp_path / "whole")
        assert sorted(p.name for p in output.iterdir()) == [
            ".lock",
            "index.html",
            "masks",
            "overlays",
            "predictions.csv",
            "predictions.json",
        ]


class Noting(Predictor):
    """Notes the heights of the images of each batch when the networks begin, beside what is written."""

    def predict(self, frames: Sequence[Frame]) -> Iterator[Prediction]:
        assert threading.current_thread() is not threading.main_thread()
        noted.append([frame.gray.shape[0] for frame in frames])
        yield from super().predict(frames)


noted: list[list[int]] = []


def test_networks_run_one_batch_ahead_and_images_stay_in_order(bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 9)
    (folder / "p (1).png").write_bytes(b"x")
    for k in (4, 5):
        (folder / f"p ({k}).png").write_bytes(b"x")  # a whole batch of them
    files = find_inputs([str(folder)], leave_out=tmp_path / "out")
    noted.clear()
    heights: list[int | None] = []
    for item, prediction in predict_items(Noting(bundle, batch_size=2), files):
        assert (item.frame is None) == (prediction is None) == (item.error != "")
        heights.append(prediction.mask.shape[0] if prediction else None)
        assert len(noted) <= (len(heights) + 1) // 2 + 1
    assert heights == [30, None, 32, 33, None, None, 36, 37, 38]
    assert noted == [[30], [32, 33], [], [36, 37], [38]]


def test_images_are_on_the_disk_before_the_tables_say_so(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut before that leaves a call that goes on, and looks at each of them."""
    folder, output, flushed = make_folder(tmp_path / "in", 3), tmp_path / "out", set[int]()
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.add(os.fstat(handle).st_ino))

    def note(path: Path, text: str) -> Path:
        images = [*output.glob("*/*.png"), output / "masks", output / "overlays"]
        assert len(images) == 8
        assert {image.stat().st_ino for image in images} <= flushed
        return write_text(path, text)

    monkeypatch.setattr("busi.inference.tables.write_text", note)
    predict_inputs(Predictor(bundle), find_inputs([str(folder)], leave_out=output), output)
    assert (output / "predictions.json").exists()


def test_what_changed_is_predicted_again_and_the_rest_is_kept(bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 4)
    (folder / "bad.png").write_bytes(b"x")
    output = tmp_path / "out"

    def call() -> list[dict[str, str]]:
        predict_inputs(Predictor(bundle), find_inputs([str(folder)], leave_out=output), output)
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


def test_a_clip_with_an_image_that_shows_nothing_is_predicted_once(bundle: Path, tmp_path: Path) -> None:
    frames = [make_image(20, 30), np.zeros((20, 30), np.uint8), make_image(20, 30)]
    clip, output = write(tmp_path / "clip.dcm", np.stack(frames)), tmp_path / "out"

    def times() -> list[int]:
        predict_inputs(Predictor(bundle), find_inputs([str(clip)], leave_out=output), output)
        assert [row["error"] == "" for row in read_rows(output)] == [True, False, True]
        return [path.stat().st_mtime_ns for path in sorted(output.glob("masks/*"))]

    first = times()
    assert times() == first
    (output / "masks" / "clip [3].png").unlink()
    assert times() != first


def test_results_of_other_models_and_files_are_not_mixed(trained: Path, bundle: Path, tmp_path: Path) -> None:
    folder, output = make_folder(tmp_path / "in", 2), tmp_path / "out"
    other = make_folder(tmp_path / "other", 3)
    files = find_inputs([str(folder)], leave_out=output)
    predict_inputs(Predictor(bundle), files, output)
    with pytest.raises(InputError, match="with another --tta"):
        predict_inputs(Predictor(bundle, tta="flip"), files, output)
    with pytest.raises(InputError, match="of other files"):
        predict_inputs(Predictor(bundle), find_inputs([str(other / "p (2).png")], output), output)
    whole = json.loads((output / "predictions.json").read_text())
    for content in (
        "{",
        "[]",
        '"text"',
        "[" * 100_000,
        '{"predictions": []}',
        '{"made_by": "somebody", "predictions": []}',
        json.dumps({**whole, "predictions": [{"class": "dog"}]}),
        json.dumps({**whole, "predictions": [whole["predictions"][0] | {"id": "../../x"}]}),
        json.dumps({**whole, "predictions": 7}),
    ):
        (output / "predictions.json").write_text(content)
        with pytest.raises(InputError, match="damaged predictions, or those of another program"):
            predict_inputs(Predictor(bundle), files, output)
    assert len(list(output.glob("masks/*"))) == 2
    with hold(output):
        assert "out is in use" in predict("in", "--run", bundle, "--output", "out", cwd=tmp_path).stderr
    done = predict("in", "--run", trained, "--output", "/proc/nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write to /proc/nowhere")


def test_folder_of_something_else_is_not_written_to(bundle: Path, trained: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 1)
    files = find_inputs([str(folder)], tmp_path / "out")
    table = (trained / "predictions.csv").read_bytes()
    with pytest.raises(InputError, match="holds predictions.csv, which no prediction left there"):
        predict_inputs(Predictor(bundle), files, trained)
    assert (trained / "predictions.csv").read_bytes() == table
    with pytest.raises(InputError, match=r"in holds .*\.png, which no prediction left there"):
        predict_inputs(Predictor(bundle), files, folder)
    assert [path.suffix for path in folder.iterdir() if not path.name.startswith(".")] == [".png"]
    (tmp_path / "data" / "masks").mkdir(parents=True)
    predict_inputs(Predictor(bundle), files, tmp_path / "data")
    (tmp_path / "other" / "masks").mkdir(parents=True)
    (tmp_path / "other" / "masks" / "p (0).png").write_bytes(b"drawn by hand")
    with pytest.raises(InputError, match="holds masks, which no prediction left there"):
        predict_inputs(Predictor(bundle), files, tmp_path / "other")
    assert (tmp_path / "other" / "masks" / "p (0).png").read_bytes() == b"drawn by hand"


def test_damaged_images_of_a_stopped_call_are_made_again(bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 6)
    files = find_inputs([str(folder)], leave_out=tmp_path / "out")
    predict_inputs(Predictor(bundle), files, tmp_path / "whole")
    stopped = Interrupted(bundle, batch_size=2)
    stopped.left = 2
    with pytest.raises(KeyboardInterrupt):
        predict_inputs(stopped, files, tmp_path / "out")
    masks = tmp_path / "out" / "masks"
    (masks / "p (0).png").write_bytes((masks / "p (0).png").read_bytes()[:60])
    (masks / "p (1).png").write_bytes(b"")
    (masks / "p (2).png").write_bytes((masks / "p (3).png").read_bytes())
    Image.fromarray(make_image(30, 40)).save(tmp_path / "out" / "overlays" / "p (3).png")
    for _ in range(2):
        predict_inputs(Predictor(bundle), files, tmp_path / "out")
        assert without_times(tmp_path / "out") == without_times(tmp_path / "whole")
        for path in (tmp_path / "whole").glob("*/*.png"):
            made = tmp_path / "out" / path.relative_to(tmp_path / "whole")
            assert made.read_bytes() == path.read_bytes()
        (masks / "p (5).png").write_bytes(b"damaged once everything was finished")


def test_images_of_pages_that_are_gone_are_gone(bundle: Path, tmp_path: Path) -> None:
    folder, output = make_folder(tmp_path / "in", 1), tmp_path / "out"
    pages = [Image.fromarray(make_image(30 + k, 40)) for k in range(3)]
    pages[0].save(folder / "scan.tif", save_all=True, append_images=pages[1:])
    for left, expected in (
        (pages, ["p (0)", "scan [1]", "scan [2]", "scan [3]"]),
        (pages[:2], ["p (0)", "scan [1]", "scan [2]"]),
        (pages[:1], ["p (0)", "scan"]),
    ):
        left[0].save(folder / "scan.tif", save_all=True, append_images=left[1:])
        predict_inputs(Predictor(bundle), find_inputs([str(folder)], output), output)
        assert [row["id"] for row in read_rows(output)] == expected
        for kind in ("masks", "overlays"):
            assert sorted(path.stem for path in (output / kind).iterdir()) == expected


def test_names_of_every_kind_lose_nothing(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "a.png").mkdir(parents=True)
    (folder / "-d").mkdir()
    names = [
        *(b"a.jpg", b"a.png/b.png", b"scan [2].png", b"caf\xe9.png", b"caf\xe8.png", b"new\nline.png"),
        *(
            b"-dash.png",
            b"dots...png",
            b"=1+1.png",
            b"-d/@x.png",
            b"x" * 251 + b".png",
            b"x" * 250 + b"y.png",
        ),
    ]
    for k, name in enumerate(names):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:  # noqa: PTH118, PTH123
            Image.fromarray(make_image(20 + k, 40)).save(file, format="PNG")
    pages = [Image.fromarray(make_image(40 + k, 40)) for k in range(2)]
    pages[0].save(folder / "scan.tif", save_all=True, append_images=pages[1:])
    command = [sys.executable, "-m", "busi.predict", "in", "--run", str(bundle), "--output", "out"]
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
    table = read_table(tmp_path / "out" / "predictions.csv")
    assert len(table) == len({row["id"] for row in table}) == len(names) + 2
    heights = {}
    for row in table:
        with Image.open(tmp_path / "out" / "masks" / f"{row['id']}.png") as mask:
            heights[row["id"]] = mask.height
            assert np.count_nonzero(np.asarray(mask)) == int(row["pred_area"])
    assert sorted(heights.values()) == sorted([*range(20, 20 + len(names)), 40, 41])
    assert (heights["scan [1]"], heights["scan [2]"], heights["scan [2].png"]) == (40, 41, 22)
    assert {"=1+1", "-dash", "-d/@x", "caf_.png", "caf_.png (2)", "new_line", "dots..", "a.jpg"} <= set(
        heights
    )
    cells = [row["id"] for row in read_rows(tmp_path / "out")]
    assert {"'=1+1", "'-dash", "'-d/@x"} <= set(cells)
    assert {row["file"] for row in table} >= {f"{folder}/caf\\xe9.png", f"{folder}/new\\nline.png"}


def test_name_that_the_file_system_refuses_is_a_row_with_an_error(bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 2)
    (first, second) = find_inputs([str(folder)], leave_out=tmp_path / "out")
    files = [first._replace(id="x" * 300), second]
    rows = predict_inputs(Predictor(bundle), files, tmp_path / "out")
    assert [row["pred"] is None for row in rows] == [True, False]
    assert rows[0]["error"].startswith("cannot write xxx")
    assert [row["error"] == "" for row in read_rows(tmp_path / "out")] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["", "--output", "out"], "error: one of the inputs is empty"),
        (["in", "--output", ""], "argument --output: is empty: give a path"),
        (["~nobody-here/x.png", "--output", "out"], "there is no such home folder"),
    ],
)
def test_empty_or_unknown_paths_are_one_error(tmp_path: Path, arguments: list[str], words: str) -> None:
    make_folder(tmp_path / "in", 1)
    done = predict(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert words in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


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
    assert all("a DICOM file without pixels" in text for text in without_pixels)


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
