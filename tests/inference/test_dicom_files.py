"""DICOM files beside predictions: of which files, how they go on, and what other programs say of them."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from jaxtyping import UInt8
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from busi.core import MALIGNANT, InputError
from busi.core.tables import read_table
from busi.data import draw_sample, find_inputs
from busi.formats import make_segmentation
from busi.inference.dicom_files import name_maker
from busi.inference.folder import predict_files, predict_inputs
from busi.inference.predictor import Predictor
from busi.inference.tables import DICOM_FOLDERS
from tests.data.test_dicom import region, write

SCAN = draw_sample(MALIGNANT, np.random.default_rng(0), 200).image
HEIGHT, WIDTH = SCAN.shape
PART = (slice(20, 20 + HEIGHT), slice(40, 40 + WIDTH))
WIDE: UInt8[np.ndarray, "h w"] = np.zeros((HEIGHT + 30, WIDTH + 70), np.uint8)
WIDE[PART] = SCAN
"""A scan within a screen."""
FLAT = np.full_like(WIDE, 90)
PLACE = region(40, 20, 40 + WIDTH - 1, 20 + HEIGHT - 1)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """The model that comes along."""
    return Predictor()


def identity() -> dict[str, object]:
    """What another file needs to refer to one."""
    names = ("StudyInstanceUID", "SeriesInstanceUID")
    return {name: generate_uid() for name in names} | {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1"}


def mask_of(output: Path, name: str) -> UInt8[np.ndarray, "h w"]:
    with Image.open(output / "masks" / f"{name}.png") as image:
        return np.asarray(image) // 255


def call(predictor: Predictor, folder: Path, dicom: tuple[str, ...]) -> list[dict[str, object]]:
    output = folder.parent / "out"
    return predict_inputs(predictor, find_inputs([str(folder)], output), output, (), dicom)


def test_dicom_files_name_every_model_of_an_ensemble(predictor: Predictor) -> None:
    one = predictor.infos[0]
    other = replace(one, fingerprints={**one.fingerprints, "checkpoint": "f" * 64})
    alone, both, twice = (name_maker(infos, "none", True) for infos in ([one], [one, other], [one, one]))
    assert one.fingerprints["checkpoint"].startswith(alone.fingerprint)
    assert len({alone.fingerprint, both.fingerprint, twice.fingerprint}) == 3
    for text in (alone.fingerprint, "f" * 16):
        assert text in " ".join(both.settings)


def test_masks_lie_in_the_whole_frame_and_frames_without_one_are_left_out(
    predictor: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    turned = WIDE.copy()
    turned[PART] = SCAN[:, ::-1]
    tags = {**identity(), "SequenceOfUltrasoundRegions": [PLACE]}
    source = write(tmp_path / "in" / "clip.dcm", np.stack([WIDE, FLAT, turned, WIDE]), **tags)
    rows = call(predictor, tmp_path / "in", DICOM_FOLDERS)
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    assert {row["dicom_error"] for row in rows} == {""}
    (seg,) = (hd.seg.segread(path) for path in (tmp_path / "out" / "dicom_seg").iterdir())
    uid = pydicom.dcmread(source).SOPInstanceUID
    found = seg.get_pixels_by_source_frame(uid, [1, 3, 4])[..., 0]
    assert found.shape == (3, *WIDE.shape)
    for number, whole in zip([1, 3, 4], found, strict=True):
        drawn = mask_of(tmp_path / "out", f"clip [{number}]")
        assert np.array_equal(whole[PART], drawn)
        assert whole.sum() == drawn.sum()
    assert found[0].any()
    report: Any = hd.sr.srread(tmp_path / "out" / "dicom_sr" / "clip.dcm")
    groups = report.content.get_planar_roi_measurement_groups()
    assert len(groups) == found.any((1, 2)).sum()
    area = next(one.value for one in groups[0].get_measurements() if one.name.meaning == "Area")
    assert area == pytest.approx(rows[0]["pred_area_mm2"])


def test_dicom_files_are_added_later_kept_and_made_again_for_what_changed(
    predictor: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        write(tmp_path / "in" / f"{name}.dcm", SCAN, **identity())
    output, written = tmp_path / "out", dict[Path, bytes]()
    call(predictor, tmp_path / "in", ())
    assert "dicom_error" not in read_table(output / "predictions.csv")[0]
    for dicom in (DICOM_FOLDERS[:1], DICOM_FOLDERS, DICOM_FOLDERS, ()):
        call(predictor, tmp_path / "in", dicom)
        for path, content in written.items():
            assert path.read_bytes() == content
        written = {path: path.read_bytes() for path in output.glob("dicom_*/*")}
    assert len(written) == 4
    assert "dicom_error" not in read_table(output / "predictions.csv")[0]
    seg, report = (output / folder / "b.dcm" for folder in DICOM_FOLDERS)
    assert pydicom.dcmread(seg).SOPInstanceUID in {uids[2] for uids in hd.sr.srread(report).get_evidence()}
    write(tmp_path / "in" / "a.dcm", SCAN[::-1], **identity())
    seg.write_bytes(b"damaged")
    call(predictor, tmp_path / "in", ())
    assert sorted(path.name for path in output.glob("dicom_*/*")) == ["b.dcm", "b.dcm"]
    call(predictor, tmp_path / "in", DICOM_FOLDERS)
    assert pydicom.dcmread(seg).SOPInstanceUID in {uids[2] for uids in hd.sr.srread(report).get_evidence()}
    assert len(list(output.glob("dicom_*/a.dcm"))) == 2


def test_a_report_goes_with_its_segmentation_and_foreign_files_are_not_taken_over(
    predictor: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.dcm", SCAN, **identity())
    seg, report = (tmp_path / "out" / folder / "a.dcm" for folder in DICOM_FOLDERS)
    call(predictor, tmp_path / "in", DICOM_FOLDERS)
    seg.unlink()
    call(predictor, tmp_path / "in", DICOM_FOLDERS[:1])
    assert (seg.exists(), report.exists()) == (True, False), "it referred to the one that is gone"
    report.write_text("drawn by hand")
    call(predictor, tmp_path / "in", DICOM_FOLDERS[:1])
    assert report.read_text() == "drawn by hand"
    call(predictor, tmp_path / "in", DICOM_FOLDERS)
    assert pydicom.dcmread(seg).SOPInstanceUID in {uids[2] for uids in hd.sr.srread(report).get_evidence()}


def test_dicom_files_of_a_stopped_call_keep_their_uids(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.dcm", np.stack([SCAN, SCAN[::-1]]), **identity())
    write(tmp_path / "in" / "b.dcm", SCAN, **identity())

    def make_some(header: Any, *others: Any) -> Any:
        if header.SOPInstanceUID == pydicom.dcmread(tmp_path / "in" / "b.dcm").SOPInstanceUID:
            raise KeyboardInterrupt
        return make_segmentation(header, *others)

    with monkeypatch.context() as patched:
        patched.setattr("busi.inference.dicom_files.make_segmentation", make_some)
        with pytest.raises(KeyboardInterrupt):
            call(predictor, tmp_path / "in", DICOM_FOLDERS[:1])
    written = (tmp_path / "out" / "dicom_seg" / "a.dcm").read_bytes()
    rows = call(predictor, tmp_path / "in", DICOM_FOLDERS[:1])
    assert [row["id"] for row in rows] == ["a [1]", "a [2]", "b"]
    assert (tmp_path / "out" / "dicom_seg" / "a.dcm").read_bytes() == written
    assert (tmp_path / "out" / "dicom_seg" / "b.dcm").exists()


def test_what_cannot_be_referred_to_is_a_row_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in" / "b.dcm").mkdir(parents=True)  # a folder of the name of another one's result
    write(tmp_path / "in" / "a.dcm", SCAN)
    write(tmp_path / "in" / "b.dcm" / "c", SCAN, **identity())
    write(tmp_path / "in" / "b", SCAN, **identity())
    (tmp_path / "in" / "d.dcm").write_bytes((tmp_path / "in" / "b").read_bytes()[:900])
    Image.fromarray(SCAN).save(tmp_path / "in" / "e.png")
    caplog.set_level("INFO")
    with pytest.raises(
        InputError, match=r"1 of 5 could not be used.*; no DICOM files for 1 of them"
    ) as caught:
        predict_files([str(tmp_path / "in")], tmp_path / "out", dicom=DICOM_FOLDERS)
    assert str(caught.value).endswith("of " + str(tmp_path / "out" / "predictions.csv"))
    rows = {row["id"]: row for row in read_table(tmp_path / "out" / "predictions.csv")}
    assert "the file has no StudyInstanceUID" in rows["a"]["dicom_error"]
    assert (rows["a"]["error"], rows["a"]["pred"] != "") == ("", True)
    made = [path for path in (tmp_path / "out").glob("dicom_seg/**/*") if path.is_file()]
    assert len(made) == 2
    assert "1 of 5 files are not DICOM" in caplog.text
    assert "DICOM files without a PatientID: 2" in caplog.text
    assert "Doe" not in caplog.text


def test_no_dicom_file_at_all_and_no_highdicom_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(SCAN).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="none of the 1 files is one: leave them out"):
        predict_files([str(tmp_path / "a.png")], tmp_path / "out", dicom=DICOM_FOLDERS[:1])
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r"needs highdicom: pip install '\.\[dicom\]'"):
        predict_files([str(tmp_path / "a.png")], tmp_path / "out", dicom=DICOM_FOLDERS[:1])


def test_a_file_of_somebody_else_is_not_taken_for_a_result(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "out" / "dicom_seg").mkdir(parents=True)
    (tmp_path / "out" / "dicom_seg" / "a.dcm").write_text("drawn by hand")
    write(tmp_path / "a.dcm", SCAN, **identity())
    with pytest.raises(InputError, match="holds dicom_seg, which no prediction left there"):
        predict_inputs(predictor, find_inputs([str(tmp_path / "a.dcm")], tmp_path / "out"), tmp_path / "out")


FAULTS = (
    "PatientName",
    "Study Date",
    "Study Time",
    "Patient",
    "Physician",
    "DICOMDIR",
    "invalid data values",
)
"""What dciodvfy says of values that were taken over as they are."""


@pytest.mark.slow
def test_files_of_other_makers_get_files_that_dciodvfy_accepts_without_torch(tmp_path: Path) -> None:
    """It comes with Debian's dicom3tools; without it everything but its word is tested."""
    names = (
        *("examples_rgb_color.dcm", "examples_ybr_color.dcm", "examples_palette.dcm"),
        *("ExplVR_BigEnd.dcm", "MR_small.dcm"),
    )
    (tmp_path / "in").mkdir()
    for name in names:
        shutil.copy(str(get_testdata_file(name)), tmp_path / "in" / name)
    code = (
        "import runpy, sys\n"
        "sys.argv[1:] = ['in', '--output', 'out', '--dicom-seg', '--dicom-sr']\n"
        "runpy.run_module('busi.predict', run_name='__main__')\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    for name in names:
        source = pydicom.dcmread(tmp_path / "in" / name)
        seg = hd.seg.segread(tmp_path / "out" / "dicom_seg" / name)
        frames = seg.pixel_array.reshape(-1, source.Rows, source.Columns)
        assert [frame.sum() for frame in frames] == [
            row["pred_area"] for row in rows if row["source"] == name.removesuffix(".dcm")
        ]
        assert seg.StudyInstanceUID == source.StudyInstanceUID
        assert str(seg.PatientName) == str(source.get("PatientName", ""))
        hd.sr.srread(tmp_path / "out" / "dicom_sr" / name)
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy: apt-get install dicom3tools")
    for path in (tmp_path / "out").glob("dicom_*/*"):
        said = subprocess.run([program, path], capture_output=True, text=True, check=False)
        lines = (said.stdout + said.stderr).splitlines()
        assert not [line for line in lines if "Error" in line and not any(one in line for one in FAULTS)], (
            path
        )
        assert {"Segmentation", "ComprehensiveSR"} & set(lines), path
