"""NIfTI and NRRD as ITK, 3D Slicer, ITK-SNAP and NumPy write them, and sheets of cases."""

import bz2
import contextlib
import csv
import gzip
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import openpyxl
import pytest
from jaxtyping import Shaped
from PIL import Image

from busi.core.tables import read_table
from busi.core.types import InputError
from busi.data.files import read_gray
from busi.data.workbook import read_workbook
from busi.formats.annotations import MAY_BE_MISSING
from busi.formats.converting import convert
from busi.formats.nifti import read_nifti
from busi.formats.nrrd import read_nrrd
from busi.formats.orientation import to_slice
from tests.formats.made import (
    HEIGHT,
    WIDTH,
    draw_masks,
    problems_of,
    read_back,
    same,
    write_images,
    write_manifest,
)

MASK = draw_masks()["benign a"].astype(np.uint8)
GRAY = np.random.default_rng(0).integers(0, 256, MASK.shape, np.uint8)
BENIGN = {"1": "benign"}
NIBABEL: Any = nibabel  # its types are partial


def save(path: Path, values: Shaped[np.ndarray, "..."], affine: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = NIBABEL.Nifti1Image(values, np.diag([-1.0, -1, 1, 1]) if affine is None else affine)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "PLS", "RSA", "ASL", "AIR"])
def test_a_slice_is_turned_as_viewers_show_it(codes: str, tmp_path: Path) -> None:
    """Seen from below, from the front, or from the side: right, or front, is on the left."""
    thin = {"S": "axial", "I": "axial"}.get(codes[2], "coronal" if codes[2] in "AP" else "sagittal")
    across, down = {"axial": ("L", "P"), "coronal": ("L", "I"), "sagittal": ("P", "I")}[thin]
    opposite = dict(zip("LRPASI", "RLAPIS", strict=True))
    values, order = MASK, (down, across)
    if codes[0] in (across, opposite[across]):
        values, order = values.T, (across, down)
    for axis in (0, 1):
        if codes[axis] != order[axis]:
            values = np.flip(values, axis)
    affine = np.eye(4)
    for axis, code in enumerate(codes):
        affine[:3, axis] = np.eye(3)["RAS".find(code)] if code in "RAS" else -np.eye(3)["LPI".find(code)]
    volume = read_nifti(save(tmp_path / "a.nii.gz", values[:, :, None], affine @ np.diag([0.5, 0.2, 1, 1])))
    found = to_slice(volume, "header")
    assert np.array_equal(found.layers[0], MASK)
    first = codes[0] in (across, opposite[across])
    assert found.spacing == pytest.approx((0.2, 0.5) if first else (0.5, 0.2))


@pytest.mark.parametrize(
    ("orientation", "values"),
    [("itk", MASK.T), ("itk", MASK.T[:, :, None]), ("itk", MASK.T[None]), ("numpy", MASK)],
)
def test_the_header_may_be_ignored(
    orientation: str, values: Shaped[np.ndarray, "..."], tmp_path: Path
) -> None:
    volume = read_nifti(save(tmp_path / "a.nii", values, np.eye(4)))
    found = to_slice(volume, orientation)
    assert np.array_equal(found.layers[0], MASK)
    assert found.spacing is None


def test_a_file_that_says_no_directions_is_read_as_itk_stores_it(tmp_path: Path) -> None:
    nibabel.save(NIBABEL.Nifti1Image(MASK.T, None), tmp_path / "a.nii.gz")
    volume = read_nifti(tmp_path / "a.nii.gz")
    assert volume.affine is None
    assert np.array_equal(to_slice(volume, "header").layers[0], MASK)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/benign a.nii.gz", "masks/benign a.nii.gz"),
        ("imagesTr/benign a_0000.nii.gz", "labelsTr/benign a.nii.gz"),
        ("x/benign a.nii", "x/benign a_seg.nii.gz"),
        ("x/benign a.nii.gz", "x/benign a-label.nii"),
        ("x/benign a.png", "x/benign a.nii.gz"),
        ("x/benign a.png", "x/Segmentation.nii.gz"),
        ("x/benign a.nii.gz", "x/benign a_mask_1.nii.gz"),
        ("benign a.nrrd", "benign a.seg.nrrd"),
        ("case/benign a.nrrd", "case/Segmentation_1.seg.nrrd"),
        ("benign a.nrrd", "benign a_mask.nii.gz"),
        ("benign a.png", "benign a-label.nrrd"),
    ],
)
def test_pairs_are_found_by_their_names(image: str, mask: str, tmp_path: Path) -> None:
    for name, values in ((image, GRAY), (mask, MASK)):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("png"):
            Image.fromarray(values).save(path)
        elif name.endswith("nrrd"):
            nrrd.write(str(path), values.T[:, :, None])
        else:
            save(path, values.T)
    convert(str(tmp_path / "in"), tmp_path / "out", labels=BENIGN)
    (row,) = read_table(tmp_path / "out" / "manifest.csv")
    assert np.array_equal(read_gray(tmp_path / "out" / row["image"]), GRAY)
    assert np.array_equal(read_gray(tmp_path / "out" / row["mask"]), MASK * 255)
    assert not (tmp_path / "out" / "problems.csv").exists()
    if "images" not in image:
        convert(str(tmp_path / "in" / mask), tmp_path / "one", labels=BENIGN)
        assert len(read_table(tmp_path / "one" / "manifest.csv")) == 1


def test_a_mask_of_no_place_in_space_needs_an_order_of_its_axes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(GRAY).save(tmp_path / "in" / "benign a.png")
    save(tmp_path / "in" / "benign a.nii.gz", MASK.T, np.eye(4))
    with pytest.raises(InputError, match="mask whose header is the unit matrix.*--orientation itk"):
        convert(str(tmp_path / "in"), tmp_path / "out", labels=BENIGN)
    convert(str(tmp_path / "in"), tmp_path / "itk", labels=BENIGN, orientation="itk")
    (row,) = read_table(tmp_path / "itk" / "manifest.csv")
    assert np.array_equal(read_gray(tmp_path / "itk" / row["mask"]), MASK * 255)
    # Both of a pair that a script wrote are turned alike.
    (tmp_path / "in" / "benign a.png").unlink()
    save(tmp_path / "in" / "images" / "benign a.nii.gz", GRAY.T, np.eye(4))
    save(tmp_path / "in" / "masks" / "benign a.nii.gz", MASK.T, np.eye(4))
    (tmp_path / "in" / "benign a.nii.gz").unlink()
    assert not convert(str(tmp_path / "in"), tmp_path / "pair", labels=BENIGN)


def test_values_that_a_header_scales_are_what_was_written(tmp_path: Path) -> None:
    header = NIBABEL.Nifti1Image(GRAY.T, np.diag([-1.0, -1, 1, 1])).header
    nibabel.save(NIBABEL.Nifti1Image(MASK.T.astype(np.float32), None, header), tmp_path / "a.nii.gz")
    assert set(np.unique(read_nifti(tmp_path / "a.nii.gz").layers[0])) == {0, 1}


def test_raw_pixels_that_look_packed_are_read(tmp_path: Path) -> None:
    values = np.full((4, 5, 1), 66, np.uint8)
    values[1, 0] = 90  # "BZ"
    nrrd.write(str(tmp_path / "a.nrrd"), values, {"encoding": "raw"})
    assert np.array_equal(read_nrrd(tmp_path / "a.nrrd").layers[0], values)


def test_images_that_are_called_like_masks(tmp_path: Path) -> None:
    """What is written of them comes back; so do images in a folder of their own."""
    names = ("benign", "benign roi", "benign_seg", "benign_0000", "benign x_0000")
    masks = {name: np.roll(MASK > 0, k, 0) for k, name in enumerate(names)}
    for name, back in (("nifti", {"1": "mask"}), ("nrrd", {})):
        manifest = write_manifest(tmp_path / name, masks)
        text = manifest.read_text()
        manifest.write_text(text.replace(",benign_seg,", ",benign,").replace(",benign_0000,", ",benign,"))
        convert(str(manifest), tmp_path / f"{name} there", to=name)
        there = tmp_path / f"{name} there"
        convert(str(there), tmp_path / f"{name} back", labels=back, sheet=there / "cases.csv")
        rows = read_table(tmp_path / f"{name} back" / "manifest.csv")
        assert len(rows) == len(names)
        for row in rows:
            drawn = read_gray(tmp_path / f"{name} back" / row["mask"]) > 0
            assert np.array_equal(drawn, masks[row["id"].rpartition("/")[2].removeprefix("scans_")])
        assert not (tmp_path / f"{name} back" / "problems.csv").exists()
    there = tmp_path / "nifti there"
    convert(str(there / "masks"), tmp_path / "two", labels=BENIGN, images=there / "images")
    assert len(read_table(tmp_path / "two" / "manifest.csv")) == len(names)


def test_a_mask_that_belongs_to_no_image_leaves_no_normal_image(tmp_path: Path) -> None:
    """Also one whose image is there twice, and one in a file of another kind."""
    names = ("benign a", "b", "c", "d")
    write_images(tmp_path / "in", dict.fromkeys(names, MASK > 0))
    Image.fromarray(GRAY).save(tmp_path / "in" / "b.jpg")
    Image.fromarray(MASK * 255).save(tmp_path / "in" / "d_mask.png")
    for name in ("benign a", "b"):
        save(tmp_path / "in" / f"{name}_mask.nii.gz", MASK.T)
    convert(str(tmp_path / "in"), tmp_path / "out", labels=BENIGN, empty="normal")
    found = problems_of(tmp_path / "out")
    assert found.pop("d_mask.png").startswith("file that is called as a mask")
    assert found.pop("b_mask.nii.gz") == "mask with several images of its name"
    assert found == dict.fromkeys(("b.jpg", "b.png", "c.png", "d.png"), MAY_BE_MISSING)
    assert read_back(tmp_path / "out").keys() == {"benign a"}


SEGMENTS = {
    "space": "left-posterior-superior",
    "kinds": ["domain"] * 3,
    "space directions": np.diag([0.1, 0.2, 1]),
    "space origin": np.zeros(3),
    "Segment0_ID": "Segment_1",
    "Segment0_Name": "Benign",
    "Segment0_LabelValue": "3",
    "Segment0_Layer": "0",
}


def save_segments(path: Path, values: Shaped[np.ndarray, "..."], **header: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nrrd.write(str(path), values, {**SEGMENTS, **{k: v for k, v in header.items() if v is not None}})


def test_segmentations_of_3d_slicer(tmp_path: Path) -> None:
    """Named segments, layers that overlap, a part of the image, and the form before 4.11, also by ITK."""
    data, whole = tmp_path / "in", MASK.T[:, :, None]
    names = [f"benign {number}" for number in range(1, 5)]
    write_images(data, dict.fromkeys(names, MASK.astype(bool)))
    save_segments(data / "benign 1.seg.nrrd", whole * 3)
    part = whole[8:42, 5:27] * 3
    save_segments(data / "benign 2.seg.nrrd", part, Segmentation_ReferenceImageExtentOffset="8 5 0")
    halves = np.stack(
        [whole * (np.arange(WIDTH) < 20)[:, None, None], whole * (np.arange(WIDTH) > 10)[:, None, None]]
    )
    layers = {
        **{key: value for key, value in SEGMENTS.items() if "Value" not in key and "Layer" not in key},
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full(3, np.nan), np.diag([0.1, 0.2, 1])]),
        "Segment1_Name": "benign",
    }
    nrrd.write(str(data / "benign 3.seg.nrrd"), halves, layers)
    layers |= {"kinds": ["vector", "domain", "domain", "domain"], "Segment2_Name": "rib"}
    nrrd.write(str(data / "benign 4.seg.nrrd"), np.stack([*halves, 1 - whole]), layers)  # three are no color
    convert(str(data), tmp_path / "out", labels={"rib": "ignore"})
    assert same(read_back(tmp_path / "out"), dict.fromkeys(names, MASK > 0))


def test_a_detached_header_is_read_with_the_one_file_beside_it(tmp_path: Path) -> None:
    data = tmp_path / "in"
    write_images(data, dict.fromkeys(("benign 1", "benign 2", "benign 3"), MASK > 0))
    for name, encoding in (("1_mask", "gzip"), ("2.seg", "raw"), ("3_mask", "gzip")):
        nrrd.write(str(data / f"benign {name}.nhdr"), MASK.T[:, :, None], {"encoding": encoding})
    header = (data / "benign 3_mask.nhdr").read_text()
    for shown in ("../x", "/etc/passwd", "sub/x", "a%d.raw 1 2 1"):
        (data / "benign 3_mask.nhdr").write_text(header.replace("benign 3_mask.raw.gz", shown))
        convert(str(data), tmp_path / shown.replace("/", "_"), labels=BENIGN)
        found = problems_of(tmp_path / shown.replace("/", "_"))
        assert found == {"benign 3.png": found["benign 3.png"]}
        assert f"data is not a file beside it ({shown})" in found["benign 3.png"]
        both = dict.fromkeys(("benign 1", "benign 2"), MASK > 0)
        assert same(read_back(tmp_path / shown.replace("/", "_")), both)


def damage(path: Path, change: Callable[[bytearray], bytes | bytearray]) -> None:
    path.write_bytes(change(bytearray(path.read_bytes())))


def test_every_fault_of_a_volume_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "in"
    names = [
        "good",
        "size",
        "float",
        "slices",
        "cut",
        "text",
        "huge",
        "bomb",
        "neg",
        "many",
        "flat",
        "infinite",
    ]
    write_images(data, dict.fromkeys((f"benign {name}" for name in (*names, "alone")), MASK.astype(bool)))
    values: dict[str, Any] = {name: MASK.T[:, :, None].astype(np.int16) for name in names}
    values["size"] = MASK[:, :, None].astype(np.int16)
    values["float"] = values["float"] * np.float32(0.5)
    values["slices"] = np.repeat(values["slices"], 2, 2)
    values["neg"] = -values["neg"]
    values["many"] = np.arange(WIDTH * HEIGHT, dtype=np.int16).reshape(WIDTH, HEIGHT, 1)
    values["flat"] = values["flat"] * 0
    values["infinite"] = np.where(values["infinite"] > 0, np.float32(np.inf), np.float32(0))
    for name, one in values.items():
        save(data / f"benign {name}_mask.nii.gz", one)
    save(data / "nobody_mask.nii.gz", MASK.T)
    damage(data / "benign cut_mask.nii.gz", lambda content: content[:-40])
    damage(data / "benign text_mask.nii.gz", lambda _: b"no volume")

    def enlarge(content: bytearray) -> bytes:
        plain = bytearray(gzip.decompress(content))
        plain[40:48] = struct.pack("<4h", 3, 32767, 32767, 1)
        return gzip.compress(plain)

    damage(data / "benign huge_mask.nii.gz", enlarge)
    damage(
        data / "benign bomb_mask.nii.gz",
        lambda content: gzip.compress(gzip.decompress(content) + bytes(2_100_000)),
    )
    monkeypatch.setattr("busi.formats.files.MAX_UNPACKED", 2_000_000)
    convert(str(data), tmp_path / "out", labels={**BENIGN, "0": "ignore"})
    assert {
        name.removesuffix(".png"): text.partition(":")[0]
        for name, text in problems_of(tmp_path / "out").items()
    } == {
        "benign size": "mask of another size than its image",
        "benign float": "mask whose values are no whole numbers from 0 on",
        "benign slices": "volume of 2 slices",
        "benign neg": "mask whose values are no whole numbers from 0 on",
        "benign many": "mask of over 255 values",
        "benign flat": "image without annotation or class",
        "benign infinite": "mask whose values are no numbers",
        "benign cut": "damaged or truncated file",
        "benign text": "damaged or truncated NIfTI file",
        "benign huge": "size of 32767 x 32767 x 1",
        "benign bomb": "file that unpacks to over 2 MB",
        "benign alone": "image without annotation or class",
        "nobody_mask.nii.gz": "mask without an image of its name",
    }
    assert read_back(tmp_path / "out").keys() == {"benign good"}


def swap(old: bytes, new: bytes) -> Callable[[bytearray], bytes]:
    return lambda content: bytes(content.replace(old, new))


def pack_zeros(content: bytearray) -> bytes:
    head = content.partition(b"\n\n")[0].replace(b"gzip", b"bzip2")
    return bytes(head + b"\n\n" + bz2.compress(bytes(2_100_000)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (swap(b"sizes: 50 36 1", b"sizes: 50 36 9"), "damaged or truncated NRRD file"),
        (swap(b"sizes: 50 36 1", b"sizes: 99999 99999 9"), "size of 99999 x 99999 x 9"),
        (swap(b"encoding: gzip", b"encoding: gzip\ndata file: /etc/passwd"), "not a file beside it"),
        (swap(b"encoding: gzip", b"encoding: gzip\nbyte skip: 2"), "skips a part of packed data"),
        (swap(b"encoding: gzip", b"encoding: odd"), "damaged or truncated NRRD file"),
        (lambda content: content[:-9], "damaged or truncated file"),
        (lambda content: content[:30], "damaged or truncated NRRD file"),
        (swap(b"Layer:=0", b"Layer:=7"), "segment in a layer that is not there"),
        (swap(b"Value:=3", b"Value:=x"), "whose value or layer is no number"),
        (swap(b"kinds: domain", b"kinds: list RGB-color domain domain domain"), "damaged or truncated NRRD"),
        (swap(b"kinds: domain", b"kinds: domain domain domain vector"), "damaged or truncated NRRD"),
        (pack_zeros, "unpacks to over 2 MB"),
    ],
)
def test_nrrd_files_that_are_damaged_or_bombs_are_one_line(
    change: Callable[[bytearray], bytes], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("busi.formats.files.MAX_UNPACKED", 2_000_000)
    save_segments(tmp_path / "a.seg.nrrd", MASK.T[:, :, None] * 3)
    damage(tmp_path / "a.seg.nrrd", change)
    with pytest.raises(InputError, match=problem):
        read_nrrd(tmp_path / "a.seg.nrrd")


def test_any_changed_byte_of_a_header_gives_a_volume_or_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    save(path, MASK.T)
    save_segments(tmp_path / "a.seg.nrrd", MASK.T[:, :, None] * 3)
    rng = np.random.default_rng(0)
    for read, original in ((read_nifti, path), (read_nrrd, tmp_path / "a.seg.nrrd")):
        content = original.read_bytes()
        for _ in range(60):
            changed = bytearray(content)
            changed[rng.integers(0, 352)] = rng.integers(0, 256)
            original.write_bytes(changed)
            with contextlib.suppress(InputError):
                assert to_slice(read(original), "header").layers


@pytest.mark.parametrize("scale", [np.uint8, np.int16, np.float32, np.float64])
def test_images_keep_their_gray_levels(scale: Any, tmp_path: Path) -> None:
    save(tmp_path / "in" / "benign a.nii.gz", GRAY.T.astype(scale))
    save(tmp_path / "in" / "benign a_mask.nii.gz", MASK.T)
    convert(str(tmp_path / "in"), tmp_path / "out", labels=BENIGN)
    assert np.array_equal(read_gray(tmp_path / "out" / "images" / "benign a.png"), GRAY)


def test_color_becomes_luma_as_of_any_image(tmp_path: Path) -> None:
    color = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    rgb = color.transpose(1, 0, 2).copy().view([("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(tmp_path / "in" / "benign a.nii.gz", rgb)
    kinds = {"kinds": ["RGB-color", "domain", "domain"]}
    nrrd.write(str(tmp_path / "in" / "benign b.nrrd"), color.transpose(2, 1, 0), kinds)
    for name in ("benign a", "benign b"):
        save(tmp_path / "in" / f"{name}_mask.nii.gz", MASK.T)
    convert(str(tmp_path / "in"), tmp_path / "out", labels=BENIGN)
    for name in ("benign a", "benign b"):
        found = read_gray(tmp_path / "out" / "images" / f"{name}.png")
        assert np.array_equal(found, np.asarray(Image.fromarray(color).convert("L")))


def write_sheet(path: Path, rows: list[list[object]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter=";").writerows(rows)
        return path
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_merged_cells_are_said_of_each_row(tmp_path: Path) -> None:
    """A merged cell is said of all its rows, and makes no rows of its own."""
    write_images(tmp_path, dict.fromkeys(("a", "b", "c"), MASK > 0))
    rows: list[list[object]] = [
        ["patient", "image", "label"],
        ["Ann", "a.png", "normal"],
        [None, "b.png", None],
        ["Bo", "c.png", "normal"],
    ]
    path = write_sheet(tmp_path / "a.xlsx", rows)
    book = openpyxl.load_workbook(path)
    for cells in ("A2:A3", "C2:C3", "A4:A900"):
        book.active.merge_cells(cells)
    book.save(path)
    assert not convert(str(path), tmp_path / "out")
    found = {row["id"]: row["patient"] for row in read_table(tmp_path / "out" / "manifest.csv")}
    assert found == {"a": "Ann", "b": "Ann", "c": "Bo"}


def test_merged_cells_of_any_size_fill_no_memory(tmp_path: Path) -> None:
    """They may reach beyond the sheet, and lie on each other."""
    path, changed = write_sheet(tmp_path / "a.xlsx", [["a", "b"], [1, 2], ["", 3]]), tmp_path / "b.xlsx"
    for refs, expected in (
        (["A2:XFD1048576"], [["a", "b"], ["1", "2"], ["1", "3"]]),
        (["XFD1:XFD9", "B1:C1"], [["a", "b"], ["1", "2"], ["", "3"]]),
        (["x"], None),
    ):
        merged = "".join(f'<mergeCell ref="{ref}"/>' for ref in refs)
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith("sheet1.xml"):
                    end = b"</sheetData>"
                    content = content.replace(end, end + f"<mergeCells>{merged}</mergeCells>".encode())
                new.writestr(name, content)
        if expected is None:
            with pytest.raises(InputError, match="damaged"):
                read_workbook(changed, "excel")
        else:
            assert [row[:2] for row in read_workbook(changed, "excel")] == expected


def test_only_the_first_sheet_of_a_workbook_is_read_and_others_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["image"], ["a.png"]])
    book = openpyxl.load_workbook(path)
    book.create_sheet("empty")
    book.save(path)
    assert [row[0] for row in read_workbook(path, "excel")] == ["image", "a.png"]
    assert not caplog.messages
    book.create_sheet("2024").append([None, "b.png"])
    book.save(path)
    read_workbook(path, "excel")
    assert "has the sheets Sheet, 2024: the first one is read" in caplog.text


def test_hidden_sheets_of_a_workbook_do_not_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["image"], ["a.png"]])
    book = openpyxl.load_workbook(path)
    for place, state in ((0, "hidden"), (2, "veryHidden")):
        sheet = book.create_sheet(state, place)
        sheet.append(["lists"])
        sheet.sheet_state = state
    book.save(path)
    assert [row[0] for row in read_workbook(path, "excel")] == ["image", "a.png"]
    assert not caplog.messages


COLUMNS = {"image": "Datei", "label": "Diagnose", "patient": "Fall", "mask": "Maske"}


@pytest.mark.parametrize("name", ["cases.xlsx", "cases.csv"])
def test_a_sheet_is_a_data_set(name: str, tmp_path: Path) -> None:
    masks = draw_masks()
    write_images(tmp_path / "scans", masks)
    save(tmp_path / "drawn" / "b.nii.gz", masks["benign b"].T.astype(np.uint8))
    Image.fromarray(masks["benign a"]).save(tmp_path / "drawn" / "a.png")
    rows: list[list[object]] = [
        ["Fall", "Datei", "Maske", "Diagnose", "Alter"],
        [1, "benign a.png", "a.png", "gutartig", 50],
        [1, "D:\\us\\scans\\benign b", "/home/me/drawn/b.nii.gz", "Gutartig", 51],
        ["", "", "", "", ""],
        [2, "normal x.png", None, "normal", "n/a"],
        ["na", "gone.png", "", "normal", 3],
        [4, "../nowhere.png", "", "malignant", 3],
        [4, "malignant (1).png", "no.png", "malignant", 3],
        [4, "", "", "malignant", 3],
    ]
    path = write_sheet(tmp_path / name, rows)
    labels = {"gutartig": "benign", "1": "mask"}
    convert(str(path), tmp_path / "out", labels=labels, columns=COLUMNS)
    assert same(read_back(tmp_path / "out"), {k: v for k, v in masks.items() if "malignant" not in k})
    patients = [row["patient"] for row in read_table(tmp_path / "out" / "manifest.csv")]
    assert patients == ["1", "1", "2"]
    missing = "no such image: give the folder of the images with --images"
    assert problems_of(tmp_path / "out") == {
        "gone.png": missing,
        "../nowhere.png": missing,
        "malignant (1).png": "no such mask: no.png",
        "row 9": "row without an image",
    }


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"image": "File"}, "has no column 'File' .its columns: Fall, Datei, Alter, Alter"),
        ({"image": "Datei", "patient": "Alter"}, "has the column 'Alter' 2 times"),
        ({"picture": "Datei"}, "give one of image, label, mask"),
        ({}, "has no column 'image': say what it is called"),
    ],
)
def test_columns_that_are_wrong_are_one_line(columns: dict[str, str], words: str, tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["Fall", "Datei", "Alter", "Alter"], [1, "a.png", 2, 3]])
    with pytest.raises(InputError, match=words):
        convert(str(path), tmp_path / "out", columns=columns)


def test_a_sheet_adds_what_annotations_do_not_say(tmp_path: Path) -> None:
    data, masks = tmp_path / "in", draw_masks()
    del masks["malignant (1)"]
    write_images(data / "images", masks)
    for name, mask in masks.items():
        save(data / "masks" / f"{name}.nii.gz", mask.T.astype(np.uint8))
    rows = [
        ["image", "label", "patient", "birads", "spacing"],
        ["benign a", "benign", "p1", "4a", "0.1"],
        ["images/benign b.png", "benign", "p1", "9", ""],
        ["normal x.png", "normal", "p2", "", ""],
        ["gone", "normal", "p3", "", ""],
    ]
    path = write_sheet(tmp_path / "cases.csv", [list[object](row) for row in rows])
    convert(str(data), tmp_path / "out", labels={"1": "mask"}, sheet=path)
    assert same(read_back(tmp_path / "out"), {k: v for k, v in masks.items() if k != "benign b"})
    first = read_table(tmp_path / "out" / "manifest.csv")[0]
    assert (first["patient"], first["birads"], first["spacing"]) == ("p1", "4a", "0.1;0.1")
    assert problems_of(tmp_path / "out") == {
        "images/benign b.png": "birads is not one of 0 to 6, 4a, 4b, 4c",
        "gone": "row of the sheet without an image",
    }


def test_a_value_of_two_names_is_a_row(tmp_path: Path) -> None:
    write_images(tmp_path, {"benign a": MASK > 0})
    second = {"Segment1_Name": "Malignant", "Segment1_LabelValue": "3", "Segment1_Layer": "0"}
    save_segments(tmp_path / "benign a.seg.nrrd", MASK.T[:, :, None] * 3, **second)
    with pytest.raises(InputError, match="two segments of one value: Benign and Malignant"):
        convert(str(tmp_path), tmp_path / "out")
