"""Corrections of predicted masks: their order, what is kept of them, and the manifest that trains."""

import errno
import json
import multiprocessing
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Bool
from PIL import Image
from starlette.testclient import TestClient

from busi.core import CLASSES, InputError, printable
from busi.core.files import write_json
from busi.core.tables import read_table
from busi.data.files import read_frames
from busi.data.manifest import read_csv
from busi.data.masks import read_mask
from busi.formats.run_lengths import from_runs, to_runs
from busi.inference.bundle import PRETRAINED
from busi.inference.demo_guard import Guard
from busi.inference.folder import predict_files
from busi.inference.model_info import read_model_info
from busi.review import store
from busi.review.app import make_app
from busi.review.original import find_file
from busi.review.queue import Prediction, read_predictions, sort_by_doubt
from busi.review.session import Session
from busi.review.store import ReviewFolder
from busi.review.work import clean_patient, parse_work, suggest_patient
from tests.data.test_dicom import write
from tests.inference.test_predictor import make_image


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (17, 4)])
def test_a_mask_comes_back_from_its_run_lengths(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < share for share in (0, 0.1, 0.5, 1) for _ in range(5)]
    for mask in masks:
        runs = to_runs(mask)
        assert np.array_equal(from_runs(runs, *shape), mask)
        assert sum(runs[1::2]) == mask.sum()
        assert 0 not in runs[1:]
    for wrong in ([], [1] * 100, [-1, 2], [10**9]):
        with pytest.raises(InputError, match="run lengths of"):
            from_runs(wrong, *shape)


def row(name: str, pred: str | None, probs: tuple[float, ...], area: int, **more: Any) -> Prediction:
    values = dict(zip((f"prob_{one}" for one in CLASSES), probs or (None,) * 3, strict=True))
    rest: dict[str, Any] = {
        "file": "x.png",
        "source": name,
        "number": None,
        "sha256": "0" * 16,
        "written": {"masks": "0" * 16},
        "refer": None,
    }
    rest |= {"conformal_set": None, "num_components": min(area, 1)}
    return Prediction.model_validate({"id": name, "pred": pred, "pred_area": area, **values, **rest, **more})


def test_the_most_doubtful_come_first() -> None:
    sure, unsure = (0.05, 0.05, 0.9), (0.3, 0.3, 0.4)
    two = {"refer": True, "conformal_set": ["benign", "malignant"]}
    rows = [
        row("clear", "malignant", sure, 900),
        row("less clear", "malignant", unsure, 900),
        row("in parts", "benign", sure, 800, num_components=3),
        row("small", "benign", sure, 20),
        row("referred", "malignant", sure, 900, **two),
        row("referred, unsure", "malignant", unsure, 900, **two),
        row("no class left", "malignant", sure, 1000, refer=True, conformal_set=[]),
        row("no mask", "malignant", sure, 0),
        row("normal with a mask", "normal", (0.7, 0.2, 0.1), 900),
        row("normal", "normal", (1, 0, 0), 0),
    ]
    found = [(one.id, doubt.why) for one, doubt in sort_by_doubt(rows)]
    assert found == [
        ("normal with a mask", "has a mask"),
        ("no mask", "no mask"),
        ("referred, unsure", "undecided: benign or malignant"),
        ("referred", "undecided: benign or malignant"),
        ("no class left", "undecided: no class fits"),
        ("small", "small mask: 20 pixels"),
        ("in parts", "mask in 3 parts"),
        ("less clear", ""),
        ("clear", ""),
        ("normal", ""),
    ]
    alone = [row("a", None, (), 500), row("b", None, (), 0), row("c", None, (), 400)]
    assert [one.id for one, _ in sort_by_doubt(alone)] == ["b", "c", "a"]


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the model that comes along says of files of several kinds, names that are odd among them."""
    scans = tmp_path_factory.mktemp("scans")
    for number, name in enumerate(("a.png", "nan.png", "x;y (1).png", "=1+1.png")):
        Image.fromarray(make_image(60 + number, 80)).save(scans / name)
    write(scans / "clip.dcm", np.stack([make_image(50, 70), make_image(51, 70)[1:]]))
    output = tmp_path_factory.mktemp("out") / "predictions"
    predict_files([str(scans)], output)
    return output


@pytest.fixture
def folder(predicted: Path, tmp_path: Path) -> Path:
    """The same with files of its own, which a test may damage."""
    shutil.copytree(predicted, tmp_path / "predictions")
    scans = Path(json.loads((predicted / "predictions.json").read_text())["predictions"][0]["file"]).parent
    shutil.copytree(scans, tmp_path / "scans")
    path = tmp_path / "predictions" / "predictions.json"
    path.write_text(path.read_text().replace(str(scans), str(tmp_path / "scans")))
    return tmp_path / "predictions"


def connect(folder: Path) -> TestClient:
    session = Session(read_predictions(folder), ReviewFolder(folder / "review"))
    app: Any = Guard(make_app(session), 0)
    return TestClient(app, base_url="http://127.0.0.1")


def places(page: TestClient, name: str = "Ann") -> dict[str, int]:
    return {one["id"]: i for i, one in enumerate(get(page, "images", name)["images"])}


def get(page: TestClient, path: str, name: str = "Ann") -> dict[str, Any]:
    answer = page.get(f"/{path}", params={"reviewer": name})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def disc(shown: dict[str, Any], radius: float = 9) -> Bool[np.ndarray, "h w"]:
    rows, columns = np.ogrid[: shown["height"], : shown["width"]]
    found: Bool[np.ndarray, "h w"] = np.hypot(rows - 30, columns - 35) < radius
    return found


def work(shown: dict[str, Any], mask: Bool[np.ndarray, "h w"], **changes: Any) -> dict[str, Any]:
    """What the page sends of an image that it was shown."""
    kept = {key: shown[key] for key in ("patient", "started_from", "version", "image")}
    return {"reviewer": "Ann", "runs": to_runs(mask), "label": "benign", "window": "w", **kept, **changes}


def correct(page: TestClient, place: int, radius: float = 9, **changes: Any) -> dict[str, Any]:
    shown = get(page, f"images/{place}", changes.get("reviewer", "Ann"))
    answer = page.post(f"/images/{place}/correction", json=work(shown, disc(shown, radius), **changes))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_corrections_become_a_manifest_that_training_reads(folder: Path) -> None:
    page = connect(folder)
    at = places(page)
    assert set(at) == {"a", "nan", "x;y (1)", "=1+1", "clip [1]", "clip [2]"}
    for name, place in at.items():
        if name == "a":
            shown = get(page, f"images/{place}")
            body = work(shown, disc(shown) & False, label="normal", patient=" P  1 ")
            assert page.post(f"/images/{place}/correction", json=body).status_code == 200
        else:
            correct(page, place, label="malignant" if "clip" in name else "benign")
    manifest = folder / "review" / "corrections.csv"
    records, problems = read_csv(manifest)
    assert problems == []
    by_file = {row["_file"] + row["_number"]: row for row in read_table(manifest)}
    assert len(records) == len(by_file) == 6
    for one in records:
        (found,) = (row for row in by_file.values() if folder / "review" / row["image"] == one.image)
        frames = list(read_frames(Path(found["_file"])))
        gray = frames[int(found["_number"] or 1) - 1].gray
        assert np.array_equal(np.asarray(Image.open(one.image)), gray), "the frame that was predicted"
        size = {"height": gray.shape[0], "width": gray.shape[1]}
        expected = disc(size) & (found["label"] != "normal")
        assert np.array_equal(read_mask(one, *gray.shape), expected)
        was = np.asarray(Image.open(folder / "review" / found["_was_mask"])) > 0
        assert int(found["_changed_pixels"]) == (was != expected).sum()
        assert found["_was_label"] in CLASSES
        assert (found["_reviewer"], found["_started_from"]) == ("Ann", "prediction")
        shipped = read_model_info(PRETRAINED)
        assert found["_model"].startswith(f"pooled_fold0 ({shipped.fingerprints['checkpoint'][:8]})")
    patients = {one.id: one.patient for one in records}
    assert patients["a"] == "p 1"
    frames_of_clip = [one.patient for one in records if one.id.startswith("clip")]
    assert frames_of_clip == ["file clip", "file clip"], "frames of one file are not split between folds"
    with_spacing = next(read_frames(folder.parent / "scans" / "clip.dcm")).spacing
    assert all(one.spacing == with_spacing for one in records if one.id.startswith("clip"))


def test_two_people_keep_their_corrections_and_the_newest_counts(folder: Path) -> None:
    page, other = connect(folder), connect(folder)  # two processes in one folder
    place = places(page)["a"]
    first = correct(page, place, radius=5)
    assert first["note"] == ""
    said = get(other, f"images/{place}", "Bob")
    assert said["said"].startswith("the correction of Ann, ")
    second = correct(other, place, radius=7, reviewer="Bob")
    assert second["note"].startswith("Ann corrected this image, too: all corrections are kept")
    (kept,) = read_table(folder / "review" / "corrections.csv")
    assert (kept["_reviewer"], kept["_correction"]) == ("Bob", second["name"])
    assert kept["_started_from"] == first["name"]
    assert kept["_older"] == f"{first['name']} by Ann"
    assert len(list((folder / "review" / "corrections").iterdir())) == 2
    own = get(page, f"images/{place}")
    assert np.array_equal(from_runs(own["runs"], own["height"], own["width"]), disc(own, 5))
    assert "Bob corrected it later" in own["said"]


def test_what_is_sent_again_is_the_same_correction(folder: Path) -> None:
    page = connect(folder)
    place = places(page)["a"]
    first = correct(page, place, radius=5, save="0123456789ab")
    assert first["name"].endswith("-0123456789ab")
    page = connect(folder)  # the answer was lost, and the server was started again
    sent = {"save": "0123456789ab", "started_from": "prediction", "version": ""}
    assert correct(page, place, radius=5, **sent) == first
    assert correct(page, place, radius=6, **sent) != first, "what differs is never dropped"
    assert correct(page, place, radius=5, save="") != first
    assert len(list((folder / "review" / "corrections").iterdir())) == 3
    shown = get(page, f"images/{place}")
    body = work(shown, disc(shown), save="../../x")
    assert page.post(f"/images/{place}/correction", json=body).status_code == 422


def test_a_manifest_that_could_not_be_written_is_written_when_it_is_sent_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = connect(folder)
    place, manifest = places(page)["a"], folder / "review" / "corrections.csv"
    correct(page, place, radius=5, reviewer="Bob")
    manifest.write_text(manifest.read_text() + "by hand\n")
    shown = get(page, f"images/{place}")
    body = work(shown, disc(shown), save="0123456789ab")
    body["version"] = page.post(f"/images/{place}/draft", json=body | {"save": ""}).json()["version"]

    def fill_disk(path: Path, value: object) -> Path:
        if path.parent.name == "review":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_json(path, value)

    for name in ("write_table", "write_json"):  # of the manifest, and of its fingerprint
        assert list(manifest.parent.glob("*edited*")) == []
        with monkeypatch.context() as patch:
            patch.setattr(store, name, fill_disk)
            refused = page.post(f"/images/{place}/correction", json=body)
        assert (refused.status_code, "cannot write to" in refused.json()["error"]) == (422, True)
    saved = page.post(f"/images/{place}/correction", json=body).json()
    assert saved["note"].startswith("Bob corrected this image, too: ")
    assert saved["note"].endswith("the newest, that of Ann")
    (row,) = read_table(manifest)
    assert (row["_reviewer"], row["_correction"]) == ("Ann", saved["name"])
    assert len(list((folder / "review" / "corrections").iterdir())) == 2
    assert not get(page, "images")["images"][place]["draft"]
    (edited,) = manifest.parent.glob("*edited*")
    assert edited.read_text().endswith("by hand\n")


def save_all(folder: Path, reviewer: str) -> None:
    """What a process does whose person corrects one image twice, and two others."""
    session = Session(read_predictions(folder), ReviewFolder(folder / "review"))
    for place in (0, 0, 1, 2):
        shown = session.open_image(place, reviewer)
        body = work(shown, disc(shown), reviewer=reviewer)
        session.correct(place, parse_work(json.dumps(body).encode()))


def test_several_processes_and_threads_that_save_at_once_lose_nothing(folder: Path) -> None:
    start = multiprocessing.get_context("fork").Process
    processes = [start(target=save_all, args=(folder, name), daemon=True) for name in ("Ann", "Bob")]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save_all, [folder] * 2, ["Cem", "Dot"]))
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    review = ReviewFolder(folder / "review")
    assert len(review.corrections()) == 16
    rows = read_table(folder / "review" / "corrections.csv")
    assert len(rows) == 3
    assert sum(1 + len(row["_older"].split("; ")) for row in rows) == 16
    assert not list((folder / "review").glob("*edited*"))
    assert all(
        row["_correction"] == max(review.corrections_of(row["id"])) for row in rows if row["id"] == "a"
    )


def test_a_draft_outlives_the_server_and_belongs_to_one_person(folder: Path) -> None:
    page = connect(folder)
    place = places(page)["a"]
    shown = get(page, f"images/{place}")
    draft = work(shown, disc(shown, 3), label=None, patient="7")
    (first,) = page.post(f"/images/{place}/draft", json=draft).json().values()
    page = connect(folder)  # the server was killed
    again = get(page, f"images/{place}", " ann ")
    assert (again["said"], again["label"], again["patient"]) == ("your draft", None, "7")
    assert again["version"] == first
    assert again["runs"] == draft["runs"]
    assert get(page, f"images/{place}", "Bob")["said"] == "the prediction"
    assert get(page, "images")["images"][place]["draft"]
    # A window that has not seen the newest draft does not write over it.
    old = page.post(f"/images/{place}/draft", json=work(shown, disc(shown, 4), window="other"))
    assert (old.status_code, "another window" in old.json()["error"]) == (409, True)
    assert page.post(f"/images/{place}/draft", json=draft).json()["version"] != first
    saved = page.post(f"/images/{place}/correction", json=work(shown, disc(shown, 4), window="other"))
    assert saved.status_code == 200
    assert get(page, f"images/{place}")["said"] == "your draft", "that of the first window is still there"
    assert page.post(f"/images/{place}/correction", json=draft | {"label": "benign"}).status_code == 200
    assert get(page, f"images/{place}")["said"].startswith("the correction of Ann")
    assert not get(page, "images")["images"][place]["draft"]
    # The second draft that is begun is no draft that the window of the first one has seen.
    third = work(get(page, f"images/{place}"), disc(shown, 6), window="third")
    assert page.post(f"/images/{place}/draft", json=third).status_code == 200
    late = page.post(f"/images/{place}/draft", json=draft | {"version": first, "window": "late"})
    assert late.status_code == 409
    assert get(page, f"images/{place}")["runs"] == third["runs"]


def test_what_others_have_just_painted_is_told(folder: Path) -> None:
    page = connect(folder)
    place = places(page)["a"]
    shown = get(page, f"images/{place}", "Bob")
    page.post(f"/images/{place}/draft", json=work(shown, disc(shown), reviewer="Bob"))
    assert [one["draft_by"] for one in get(page, "images")["images"]].count("Bob") == 1
    assert get(page, "images")["images"][place]["draft_by"] == "Bob"
    assert get(page, "images", "BOB")["images"][place]["draft_by"] is None
    (draft,) = folder.glob("review/drafts/*/*/*.json")
    long_ago = draft.stat().st_mtime - 4000
    os.utime(draft, (long_ago, long_ago))
    assert get(page, "images")["images"][place]["draft_by"] is None
    draft.write_text("damaged")
    assert get(page, "images")["images"][place]["draft_by"] is None


@pytest.mark.parametrize(
    ("header", "source", "number", "expected"),
    [
        ("P 1", "x", None, "P 1"),
        ("N/A", "x", None, ""),
        ("None", "x", 2, "file x"),
        (None, "x", None, ""),
        ("a\x00b\n", "x", None, r"ab~\w{8}"),
        (None, "y" * 300, 1, r"file y{86}~\w{8}"),
        ("\ud800" + "z" * 200, "x", 1, r"z{91}~\w{8}"),
    ],
)
def test_the_patient_that_the_page_fills_in_can_be_saved(
    header: str | None, source: str, number: int | None, expected: str
) -> None:
    found = suggest_patient(row("a", "benign", (), 5, header_PatientID=header, source=source, number=number))
    assert re.fullmatch(expected, found)
    assert clean_patient(found) == found


def test_what_cannot_be_kept_says_why_and_changes_nothing(folder: Path) -> None:
    page = connect(folder)
    place = places(page)["a"]
    shown = get(page, f"images/{place}")
    full, none = np.ones((shown["height"], shown["width"]), bool), disc(shown) & False
    for body, words in (
        (work(shown, disc(shown), label=None), "choose a class"),
        (work(shown, disc(shown), label="normal"), "clear the mask"),
        (work(shown, none), "paint the lesion"),
        (work(shown, full), "whole border is lesion"),
        (work(shown, disc(shown), reviewer=" "), "give your name"),
        (work(shown, disc(shown), reviewer="a\x00b"), "control characters"),
        (work(shown, disc(shown), patient="N/A"), "leave empty"),
        (work(shown, disc(shown), image="another"), "reload"),
        (work(shown, disc(shown), runs=[5]), "reload"),
        (work(shown, disc(shown), label="cyst"), "reload"),
        ({"runs": []}, "reload"),
    ):
        answer = page.post(f"/images/{place}/correction", json=body)
        assert answer.status_code == 422
        assert words in answer.json()["error"]
    assert page.post("/images/99/draft", json={}).status_code == 404
    assert page.post(f"/images/{place}/draft", content=b"\xff").status_code == 422
    assert not (folder / "review" / "corrections").exists()
    for wrong in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert page.post(f"/images/{place}/draft", json=work(shown, none), headers=wrong).status_code == 403


@pytest.mark.parametrize("name", ["../../x", "Ä Ö", "a/b", "<b>", "日本", "=cmd", "x" * 60, "CON"])
def test_a_reviewer_may_have_any_name(folder: Path, name: str) -> None:
    page = connect(folder)
    place = places(page)["a"]
    shown = get(page, f"images/{place}", name)
    body = work(shown, disc(shown), reviewer=name)
    assert page.post(f"/images/{place}/draft", json=body).status_code == 200
    (path,) = folder.glob("review/drafts/*/*/*.json")
    assert path.relative_to(folder).parts[2].replace("-", "").isalnum()
    correct(page, place, reviewer=name)
    assert read_table(folder / "review" / "corrections.csv")[0]["_reviewer"] == name


def test_images_that_are_gone_or_have_changed_are_told_and_the_others_go_on(folder: Path) -> None:
    page = connect(folder)
    at = places(page)
    scans = folder.parent / "scans"
    (scans / "a.png").unlink()
    Image.fromarray(make_image(99, 80)).save(scans / "nan.png")
    (folder / "masks" / "=1+1.png").unlink()
    Image.fromarray(np.zeros((62, 80), np.uint8)).save(folder / "masks" / "x;y (1).png")
    for name, words in (
        ("a", "is gone"),
        ("nan", "has changed"),
        ("=1+1", "is gone"),
        ("x;y (1)", "has changed"),
    ):
        answer = page.get(f"/images/{at[name]}", params={"reviewer": "Ann"})
        assert (answer.status_code, words in answer.json()["error"]) == (422, True), answer.text
    assert page.get(f"/images/{at['a']}/pixels.png").status_code == 404
    correct(page, at["clip [2]"], label="malignant")


def test_a_file_is_found_by_the_name_that_the_table_prints(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xe9\n.png")
    path.write_bytes(b"")
    assert printable(str(path)) != str(path)
    assert find_file(printable(str(path))) == path
    below = path.parent / os.fsdecode(b"\xff") / "x.png"
    below.parent.mkdir()
    below.touch()
    assert find_file(printable(str(below))) == below
    assert find_file("/nowhere/x.png") == Path("/nowhere/x.png")


def test_a_manifest_that_somebody_has_edited_is_kept(folder: Path) -> None:
    page = connect(folder)
    at = places(page)
    correct(page, at["a"])
    manifest = folder / "review" / "corrections.csv"
    edited = manifest.read_text() + "by hand\n"
    manifest.write_text(edited)
    note = correct(page, at["nan"])["note"]
    (kept,) = manifest.parent.glob("corrections.edited-*.csv")
    assert kept.read_text() == edited
    assert kept.name in note
    assert len(read_table(manifest)) == 2


def test_corrections_that_are_taken_back_leave_the_manifest(folder: Path) -> None:
    page = connect(folder)
    correct(page, places(page)["a"])
    manifest = folder / "review" / "corrections.csv"
    (correction,) = (folder / "review" / "corrections").iterdir()
    correction.unlink()
    edited = manifest.read_text() + "by hand\n"
    for content in (None, edited):
        if content:
            manifest.write_text(content)
        ReviewFolder(folder / "review")
        assert not manifest.exists()
    (kept,) = manifest.parent.glob("corrections.edited-*.csv")
    assert kept.read_text() == edited
    correct(connect(folder), 0)
    assert len(read_table(manifest)) == 1


def test_damaged_and_foreign_folders_are_one_line(folder: Path, tmp_path: Path) -> None:
    page = connect(folder)
    correct(page, places(page)["a"])
    review = folder / "review"
    (correction,) = (review / "corrections").iterdir()
    whole = correction.read_text()
    mask = review / json.loads(whole)["mask"]
    evil = whole.replace(json.loads(whole)["mask"], "../../x.png")
    timeless = whole.replace(json.loads(whole)["time"], "yesterday")
    times = ("", "9999-12-31T23:59:59+00:00")
    never, last = (whole.replace(json.loads(whole)["time"], time) for time in times)
    for content in ("", "{", "[]", whole[:-20], evil, timeless, never, last):
        correction.write_text(content)
        with pytest.raises(InputError, match="is damaged: move it out"):
            ReviewFolder(review)
    correction.write_text(whole)
    mask.rename(tmp_path / "mask.png")
    with pytest.raises(InputError, match="is gone, and .* needs it"):
        ReviewFolder(review)
    (tmp_path / "mask.png").rename(mask)
    ReviewFolder(review)
    (review / "review.json").write_text("[")
    with pytest.raises(InputError, match="is damaged: write {} into it"):
        ReviewFolder(review)
    (review / "review.json").write_text("{}")
    assert ReviewFolder(review).corrections()
    with pytest.raises(InputError, match="and no review.json: give another folder"):
        ReviewFolder(folder.parent / "scans")
    with pytest.raises(InputError, match="cannot write to"):
        ReviewFolder(mask)
    predictions = folder / "predictions.json"
    good = predictions.read_text()
    first = json.loads(good)["predictions"][0]
    prints = [good.replace(first["sha256"], digits) for digits in ("", first["sha256"][:1], "x" * 16)]
    prints += [good.replace(first["written"]["masks"], "")]
    texts = (good.replace('"id": "a"', '"id": "../a"'), good.replace('"benign"', '"cyst"'))
    for text in ("{", "{}", *texts, *prints):
        predictions.write_text(text)
        with pytest.raises(InputError, match="is damaged, or of another program"):
            read_predictions(folder)
    predictions.unlink()
    with pytest.raises(InputError, match=r"holds no predictions\.json"):
        read_predictions(folder)
    (folder / ".unfinished.jsonl").write_text("")
    with pytest.raises(InputError, match="is not finished"):
        read_predictions(folder)
