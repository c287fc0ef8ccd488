"""Images of the demo that are kept to be corrected."""

import errno
import os
from itertools import islice
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from busi.core.files import write_json
from busi.core.tables import read_table
from busi.core.types import InputError
from busi.data.files import read_frames
from busi.formats.run_lengths import from_runs, to_runs
from busi.inference import appending, tables
from busi.inference.bundle import PRETRAINED
from busi.inference.demo_corrector import keep
from busi.inference.demo_files import read_frame
from busi.inference.demo_text import View
from busi.inference.folder import predict_files
from busi.inference.predictor import Predictor
from busi.review.app import serve_review
from busi.review.queue import read_predictions
from busi.review.uploads import Uploads
from tests.data.test_dicom import write
from tests.inference.test_predictor import make_image


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(PRETRAINED)


def add(uploads: Uploads, predictor: Predictor, path: Path, number: int | None = None) -> int:
    frame = next(islice(read_frames(path), (number or 1) - 1, None))
    return uploads.add(path, number, frame, predictor.predict_one(frame))


def test_uploads_are_kept_once_and_corrected(predictor: Predictor, tmp_path: Path) -> None:
    folder, scan = tmp_path / "own", tmp_path / "sc an.png"
    Image.fromarray(make_image(60, 80)).save(scan)
    clip = write(tmp_path / "clip.dcm", np.stack([make_image(60, 80), make_image(61, 80)[1:]]))
    first, other = Uploads(folder, predictor), Uploads(folder, predictor)  # two demos
    page = TestClient(first.app)
    assert page.get("/images", params={"reviewer": "Ann"}).json()["images"] == []
    assert page.get("/images/0", params={"reviewer": "Ann"}).status_code == 404
    assert [add(first, predictor, scan), add(other, predictor, clip, 2), add(first, predictor, scan)] == [
        1,
        2,
        1,
    ]
    Image.fromarray(make_image(50, 80)).save(scan)
    assert add(first, predictor, scan) == 3, "a file of the same name"
    scan.unlink()
    names = [one["id"] for one in page.get("/images", params={"reviewer": "Ann"}).json()["images"]]
    assert [name.rpartition("-")[0] for name in names] == ["sc an", "clip", "sc an"]
    shown = page.get("/images/1", params={"reviewer": "Ann"}).json()
    mask = predictor.predict_one(list(read_frames(clip))[1]).mask
    assert np.array_equal(from_runs(shown["predicted_runs"], 60, 80), mask)
    painted = np.zeros((60, 80), bool)
    painted[9:20, 30:50] = True
    sent = {key: shown[key] for key in ("patient", "started_from", "version", "image")}
    body = {"reviewer": "Ann", "runs": to_runs(painted), "label": "benign", "window": "w", **sent}
    assert page.post("/images/1/correction", json=body).status_code == 200
    later = TestClient(Uploads(folder, predictor).app)
    assert later.get("/images", params={"reviewer": "Ann"}).json()["images"][1]["corrected_by"] == "Ann"
    (row,) = read_table(folder / "review" / "corrections.csv")
    assert (row["label"], row["_number"], row["patient"]) == ("benign", "2", f"file {names[1][:-4]}")
    assert np.array_equal(np.asarray(Image.open(folder / "review" / row["mask"])) > 0, painted)
    assert len(read_predictions(folder).rows) == 3, "as --review reads it"


def test_what_the_page_says_of_an_upload(predictor: Predictor, tmp_path: Path) -> None:
    uploads, path = Uploads(tmp_path / "own", predictor), tmp_path / "<b>.png"
    Image.fromarray(make_image(60, 80)).save(path)
    name, frame = read_frame(path, 1)
    view = View(name, frame, predictor.predict_one(frame))
    assert "<a href='correct/#1' target='_blank'>" in (said := keep(uploads, path, 1, view))
    assert "&lt;b&gt; is kept" in said
    chosen = "another image was chosen meanwhile: wait for its mask"
    assert chosen in keep(uploads, path, 1, View("another", frame, view.prediction))
    (tmp_path / "later").mkdir()
    later = tmp_path / "later" / path.name  # of the same name, as scanners call all
    for gray in (make_image(61, 80), make_image(61, 80)[1:]):
        Image.fromarray(gray).save(later)
        assert chosen in keep(uploads, later, 1, view)
    assert len(read_predictions(tmp_path / "own").rows) == 1
    (tmp_path / "own" / "predictions.json").write_text("{")
    assert keep(uploads, path, 1, view).startswith("<p role='alert'>")
    path.unlink()
    assert "cannot read &lt;b&gt;.png" in keep(uploads, path, 1, view)
    with pytest.raises(InputError, match=r"cannot read .*<b>\.png: choose the file again"):
        uploads.add(path, 1, frame, view.prediction)


def test_an_upload_that_was_cut_off_is_kept_when_it_is_sent_again(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, scan = tmp_path / "own", tmp_path / "scan.png"
    Image.fromarray(make_image(60, 80)).save(scan)
    Uploads(folder, Predictor(PRETRAINED, "flip"))  # another model, and nothing was kept
    uploads = Uploads(folder, predictor)
    for module, name in ((appending, "write_tables"), (tables, "write_table")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, Mock(side_effect=OSError(errno.ENOSPC, "disk full")))
            with pytest.raises(InputError, match="cannot write to .*: disk full"):
                add(uploads, predictor, scan)
        assert list((folder / "masks").iterdir())
        uploads = Uploads(folder, predictor)
    assert add(uploads, predictor, scan) == 1
    assert len(read_table(folder / "predictions.csv")) == 1
    with pytest.raises(InputError, match="no image of .*new was predicted: give another folder"):
        serve_review(Uploads(tmp_path / "new", predictor).folder, None, 0)


def test_a_folder_is_the_same_however_it_is_typed(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, folder = tmp_path / "scan.png", tmp_path / os.fsdecode(b"own \xff")
    Image.fromarray(make_image(60, 80)).save(scan)
    add(Uploads(folder, predictor), predictor, scan)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    for typed in (".", f"../{folder.name}", "../link", "uploads/..", str(folder)):
        uploads = Uploads(Path(typed), predictor)
        assert add(uploads, predictor, scan) == 1
    page = TestClient(uploads.app)
    assert page.get("/images", params={"reviewer": "Ann"}).json()["manifest"].endswith("corrections.csv")
    assert page.get("/images/0", params={"reviewer": "Ann"}).json()["height"] == 60
    next((folder / "uploads").iterdir()).unlink()
    assert (
        "is gone: put it back"
        in TestClient(Uploads(folder, predictor).app)
        .get("/images/0", params={"reviewer": "Ann"})
        .json()["error"]
    )


def test_folders_of_something_else_are_one_line(predictor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(make_image(60, 80)).save(tmp_path / "a.png")
    add(Uploads(tmp_path / "own", predictor), predictor, tmp_path / "a.png")
    with pytest.raises(InputError, match="of another model"):
        Uploads(tmp_path / "own", Predictor(PRETRAINED, "flip"))
    predict_files([str(tmp_path / "a.png")], tmp_path / "predicted")
    with pytest.raises(InputError, match=r"of other files, e\.g\. a: give another folder"):
        Uploads(tmp_path / "predicted", predictor)
    (tmp_path / "own" / ".unfinished.jsonl").touch()
    with pytest.raises(InputError, match=r"is a folder of busi\.predict"):
        Uploads(tmp_path / "own", predictor)
    write_json(tmp_path / "damaged" / "predictions.json", {"made_by": 1})
    wrong = {"damaged": "damaged predictions", "a.png": "cannot write", "a.png/x": "cannot write"}
    for name, words in wrong.items():
        with pytest.raises(InputError, match=words):
            Uploads(tmp_path / name, predictor)
