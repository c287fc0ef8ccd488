"""From a manifest to each format and back, and the arguments of the command."""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
from defusedxml import ElementTree
from PIL import Image
from pycocotools.coco import COCO

from busi.convert import main
from busi.core.tables import read_table
from busi.core.types import InputError
from busi.core.words import read_mapping
from busi.data.files import read_gray
from busi.data.manifest import read_csv
from busi.formats.converting import convert
from busi.formats.known import WRITTEN
from busi.formats.labels import Meanings
from tests.formats.made import HEIGHT, WIDTH, draw_masks, read_back, same, write_manifest


@pytest.mark.parametrize("name", WRITTEN)
def test_masks_come_back_equal_pixel_by_pixel(name: str, tmp_path: Path) -> None:
    manifest, masks = write_manifest(tmp_path), draw_masks()
    there, back = tmp_path / "there", tmp_path / "back"
    assert not convert(str(manifest), there, to=name)
    if name == "manifest":
        convert(str(there / "manifest.csv"), back)
    else:
        labels = {"1": "mask"} if name == "nifti" else {}
        convert(str(there), back, labels=labels, sheet=there / "cases.csv")
    assert same(read_back(back), masks)
    old, new = read_csv(manifest)[0], read_csv(back / "manifest.csv")[0]
    for one, other in zip(old, new, strict=True):
        assert np.array_equal(read_gray(one.image), read_gray(other.image))
        assert (one.patient, one.birads) == (other.patient, other.birads)
        assert other.spacing == pytest.approx(one.spacing)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_lesion_that_nobody_drew_never_becomes_normal_in_silence(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_manifest(tmp_path)
    manifest.write_text(manifest.read_text().replace("drawn/malignant (1).png", ""))
    there, back = tmp_path / "there", tmp_path / "back"
    convert(str(manifest), there, to=name)
    holds = name not in ("nifti", "nrrd")
    assert ("1 images of a lesion that nobody drew (scans/malignant (1)) look like" in caplog.text) != holds
    convert(
        str(there / "manifest.csv" if name == "manifest" else there),
        back,
        empty="normal",
        labels={"1": "benign"},
        sheet=None if holds else there / "cases.csv",
    )
    labels = [row["label"] for row in read_table(back / "manifest.csv")]
    assert labels == ["benign", "benign", "malignant", "normal"]


@pytest.mark.parametrize("name", WRITTEN)
def test_every_column_of_a_manifest_comes_back(name: str, tmp_path: Path) -> None:
    """Also the fold of an image, and that one has none."""
    manifest, there, back = write_manifest(tmp_path), tmp_path / "there", tmp_path / "back"
    more = [("source", "scanner", "fold"), ("a", "X 1", 1), ("b", "", ""), ("a", "Y", 0), ("b", "Y", "2.0")]
    lines = zip(manifest.read_text().splitlines(), more, strict=True)
    manifest.write_text("\n".join(f"{line},{','.join(map(str, one))}" for line, one in lines))
    convert(str(manifest), there, to=name)
    if name == "manifest":
        convert(str(there / "manifest.csv"), back)
    else:
        labels = {"1": "mask"} if name == "nifti" else {}
        convert(str(there), back, labels=labels, sheet=there / "cases.csv")
    for one, other in zip(read_csv(manifest)[0], read_csv(back / "manifest.csv")[0], strict=True):
        for field in ("label", "patient", "source", "scanner", "birads", "published_folds"):
            assert getattr(one, field) == getattr(other, field)


def test_folds_of_which_one_has_lost_its_images_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_manifest(tmp_path)
    lines = zip(manifest.read_text().splitlines(), ("fold", 0, 1, 2, 0), strict=True)
    manifest.write_text("\n".join(f"{line},{fold}" for line, fold in lines))
    (tmp_path / "scans" / "benign b.png").write_bytes(b"")
    assert convert(str(manifest), tmp_path / "out")
    assert "The folds are left out" in caplog.text
    assert len(read_csv(tmp_path / "out" / "manifest.csv")[0]) == 3


def test_coco_is_what_its_own_library_reads(tmp_path: Path) -> None:
    convert(str(write_manifest(tmp_path)), tmp_path / "out", to="coco")
    coco = COCO(tmp_path / "out" / "annotations" / "instances_default.json")
    for image in coco.imgs.values():
        union = np.zeros((image["height"], image["width"]), bool)
        for one in coco.loadAnns(coco.getAnnIds(image["id"])):
            mask = coco.annToMask(one).astype(bool)
            assert one["area"] == mask.sum()
            assert not (union & mask).any()
            union |= mask
        name = image["file_name"].removesuffix(".png").removeprefix("scans_")
        assert np.array_equal(union, draw_masks()[name])


def test_cvat_and_labelme_hold_the_class_as_a_tag(tmp_path: Path) -> None:
    manifest = str(write_manifest(tmp_path))
    convert(manifest, tmp_path / "cvat", to="cvat")
    for image in ElementTree.parse(tmp_path / "cvat" / "annotations.xml").getroot().iter("image"):
        assert image.find("tag").get("label") in image.get("name")
    convert(manifest, tmp_path / "labelme", to="labelme")
    for path in (tmp_path / "labelme").glob("*.json"):
        flags = json.loads(path.read_text())["flags"]
        assert [name for name, on in flags.items() if on] == [path.stem.removeprefix("scans_").split()[0]]


def test_nifti_and_nrrd_are_stored_as_itk_does(tmp_path: Path) -> None:
    """Columns along the first axis, from the upper left pixel on, to the patient's left and back."""
    manifest, name = str(write_manifest(tmp_path)), "scans_benign b"
    convert(manifest, tmp_path / "nifti", to="nifti")
    image: Any = nibabel.load(tmp_path / "nifti" / "masks" / f"{name}.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj)[:, :, 0].T, draw_masks()["benign b"])
    assert image.affine == pytest.approx(np.diag([-0.08, -0.1, 1, 1]))
    assert image.header.get_zooms() == pytest.approx((0.08, 0.1, 1))
    convert(manifest, tmp_path / "nrrd", to="nrrd")
    values, header = nrrd.read(str(tmp_path / "nrrd" / f"{name}.seg.nrrd"))
    assert np.array_equal(values[:, :, 0].T, draw_masks()["benign b"])
    assert header["Segment0_Name"] == "benign"


def test_an_archive_is_unpacked_and_its_images_are_kept(tmp_path: Path) -> None:
    convert(str(write_manifest(tmp_path)), tmp_path / "cvat", to="cvat")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for path in (tmp_path / "cvat").rglob("*.*"):
            archive.write(path, f"task/{path.relative_to(tmp_path / 'cvat')}")
    convert(str(tmp_path / "export.zip"), tmp_path / "back")
    assert same(read_back(tmp_path / "back"), draw_masks())
    rows = read_table(tmp_path / "back" / "manifest.csv")
    assert all(row["image"].startswith("images/") for row in rows)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_archive_of_windows_may_list_its_folders(tmp_path: Path) -> None:
    convert(str(write_manifest(tmp_path)), tmp_path / "cvat", to="cvat")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for folder in ("task\\", "task\\images\\", "task\\images\\empty\\"):
            archive.writestr(folder, b"")
        for path in (tmp_path / "cvat").rglob("*.*"):
            archive.write(path, "\\".join(("task", *path.relative_to(tmp_path / "cvat").parts)))
    convert(str(tmp_path / "export.zip"), tmp_path / "back")
    assert same(read_back(tmp_path / "back"), draw_masks())


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "a/../../evil.json", "C:\\evil.json"])
def test_an_archive_that_names_a_place_outside_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(InputError, match="names a place outside of it"):
        convert(str(tmp_path / "a.zip"), tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("evil*"))
    assert not (tmp_path / "in" / "out").exists()


def test_an_archive_that_is_damaged_or_a_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b" " * 100_000)
    monkeypatch.setattr("busi.formats.archives.MAX_ARCHIVE", 50_000)
    with pytest.raises(InputError, match="unpack it yourself"):
        convert(str(tmp_path / "a.zip"), tmp_path / "out")
    monkeypatch.undo()
    with pytest.raises(InputError, match=f"^{tmp_path / 'a.zip'} is in no layout that is known"):
        convert(str(tmp_path / "a.zip"), tmp_path / "out")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[45:60] = b"x" * 15
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="cannot unpack"):
        convert(str(tmp_path / "a.zip"), tmp_path / "out")


def test_a_class_name_may_be_turned_off_and_no_more() -> None:
    assert Meanings({"Benign": "mask", "Cyst": "BENIGN"})["benign"] == "mask"
    assert Meanings({"Benign": "mask", "Cyst": "BENIGN"})["cyst "] == "benign"
    for wrong in ({"cyst": "cancer"}, {"benign": "malignant"}, {"mask": ""}):
        with pytest.raises(InputError, match="give a word of the annotations"):
            Meanings(wrong)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{a: mask, 'b: c': benign}", {"a": "mask", "b: c": "benign"}),
        ("1: malignant", {"1": "malignant"}),
        ("{a b:mask, c:benign}", {"a b": "mask", "c": "benign"}),
        ("{no: normal}", {"no": "normal"}),
        ("1=benign,2=malignant", {"1": "benign", "2": "malignant"}),
        ("{grade=3: malignant}", {"grade=3": "malignant"}),
        ("BI-RADS: 4=malignant", {"BI-RADS: 4": "malignant"}),
    ],
)
def test_words_are_typed_as_in_a_config(text: str, found: dict[str, str]) -> None:
    assert read_mapping(text, "--labels") == found


@pytest.mark.parametrize(
    "text",
    ["a", "{a: }", "[a]", "{a: {b: c}}", "{", "{a: b", "a=", "=b", "a=b,c", "!!python/name:os.system x"],
)
def test_words_that_are_no_words_are_one_line(text: str) -> None:
    with pytest.raises(InputError, match="--labels .*: give words and what they mean"):
        read_mapping(text, "--labels")


def test_a_word_with_two_meanings_is_one_line() -> None:
    for text in ("a=benign,a=mask", "{a: benign, a: mask}"):
        with pytest.raises(InputError, match="--labels: a cannot mean benign and mask"):
            read_mapping(text, "--labels")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("m.csv --output full", "full is not empty: give a new folder"),
        ("m.csv --output x --to nnunet", "python -m busi.split --to nnunet writes it"),
        ("m.csv --output x --to monai", "python -m busi.split --to monai writes it"),
        ("m.csv --output x --to voc", "invalid choice: 'voc'"),
        ("m.csv --output x --images nowhere", "nowhere does not exist"),
        ("m.csv --output x --sheet nowhere.csv", "nowhere.csv does not exist"),
        ("nowhere --output x", "no data at nowhere, nor data of that name"),
        (f"{'y' * 300} --output x", "no data at yyy"),
        (f"m.csv --output {'y' * 300}", "cannot write to yyy"),
        (f"m.csv --output x --images {'y' * 300}", "does not exist: give the folder of the images"),
        ("a.bin --output x", "a.bin is in no format that is known"),
        ("full --output x --from coco", "nothing can be converted: there is no image"),
        ("m.csv --output m.csv/x", "cannot write to m.csv/x"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_manifest(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    (tmp_path / "a.bin").write_bytes(b"\0" * 700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["convert", *arguments.split()])
    with pytest.raises((InputError, SystemExit)) as caught:
        main()
    said = str(caught.value) if caught.type is InputError else capsys.readouterr().err
    assert words in said
    assert said.count("\n") == (caught.type is SystemExit)
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_used_is_a_row_and_the_rest_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_manifest(tmp_path)
    (tmp_path / "scans" / "benign a.png").write_bytes(b"\x89PNG")
    Image.new("L", (9, 9)).save(tmp_path / "drawn" / "benign b.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["convert", str(manifest), "--output", "out", "--to", "coco"])
    with pytest.raises(SystemExit, match="1"):
        main()
    rows = {row["id"]: row["problem"] for row in read_table(tmp_path / "out" / "problems.csv")}
    assert rows == {
        "scans/benign a": "unreadable or truncated file",
        "scans/benign b": "mask of another size than its image",
    }
    assert len(read_table(tmp_path / "out" / "cases.csv")) == 2


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [
        ("pycocotools", "coco", "pycocotools"),
        ("nibabel", "nifti", "nibabel"),
        ("nrrd", "nrrd", "pynrrd"),
        ("defusedxml", "cvat", "defusedxml"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    module: str, name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = str(write_manifest(tmp_path))
    source, to = manifest, name
    if name == "cvat":  # which is written without it
        source, to = str(tmp_path / "there"), "manifest"
        convert(manifest, tmp_path / "there", to=name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"this needs the package {package}: pip install .*formats"):
        convert(source, tmp_path / "out", to=to)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("size", "fits"), [((HEIGHT, WIDTH), True), ((WIDTH, HEIGHT), False)])
def test_an_image_is_as_its_exif_orientation_says(size: tuple[int, int], fits: bool, tmp_path: Path) -> None:
    """Annotations lie on the image as it is shown; one that was drawn on the turned pixels is a row."""
    exif = Image.Exif()
    exif[274] = 6
    noise = np.random.default_rng(0).integers(0, 256, (WIDTH, HEIGHT), np.uint8)
    Image.fromarray(noise).save(tmp_path / "benign.png", exif=exif)
    one = {"id": 1, "file_name": "benign.png", "height": size[0], "width": size[1]}
    drawn = {"image_id": 1, "category_id": 1, "segmentation": [[2, 3, 20, 3, 20, 30]]}
    content = {"images": [one], "annotations": [drawn], "categories": [{"id": 1, "name": "benign"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    if not fits:
        with pytest.raises(InputError, match="50 x 36 pixels, turned"):
            convert(str(tmp_path / "a.json"), tmp_path / "out")
        return
    convert(str(tmp_path / "a.json"), tmp_path / "out")
    convert(str(tmp_path / "out" / "manifest.csv"), tmp_path / "coco", to="coco")
    shown = np.asarray(Image.open(tmp_path / "coco" / "images" / "benign.png"))
    assert np.array_equal(shown, np.rot90(noise, -1))
