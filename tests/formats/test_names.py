"""Which image a path of an annotation means, and that none of another folder is taken for it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core.tables import read_table
from busi.core.types import InputError
from busi.formats.converting import convert
from busi.formats.images import ELSEWHERE, NO_IMAGE, Names
from tests.formats.made import HEIGHT, WIDTH, draw_masks, problems_of, write_images

MASK = draw_masks()["benign a"]
FLAT = [5, 4, 30, 8, 12, 30]


def write_labelme(folder: Path, name: str, given: str) -> None:
    """``NAME.json``, which names an image."""
    shape = {"label": "benign", "shape_type": "polygon", "points": [FLAT[:2], FLAT[2:4], FLAT[4:]]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"shapes": [shape], "imagePath": given}))


def write_coco(folder: Path, *names: str, file: str = "a.json") -> None:
    """A COCO file with a lesion on each image."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [{"id": k, "file_name": name} for k, name in enumerate(names)]
    drawn = [{"image_id": k, "category_id": 1, "segmentation": [FLAT]} for k in range(len(names))]
    content = {"images": images, "annotations": drawn, "categories": [{"id": 1, "name": "benign"}]}
    (folder / file).write_text(json.dumps(content))


def write_cvat(folder: Path, *names: str) -> None:
    """A CVAT file with a lesion on each image."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = '<polygon label="benign" points="5,4;30,8;12,30"/>'
    images = "".join(
        f'<image id="{k}" name="{name}" width="{WIDTH}" height="{HEIGHT}">{drawn}</image>'
        for k, name in enumerate(names)
    )
    (folder / "annotations.xml").write_text(f"<annotations>{images}</annotations>")


def write_sheet(folder: Path, *names: str) -> None:
    """A sheet with a class for each image."""
    rows = ["image,label,patient", *(f"{name},benign,P{k}" for k, name in enumerate(names))]
    (folder / "s.csv").write_text("\n".join(rows))


def images_of(folder: Path) -> list[str]:
    """The images of a manifest."""
    return [row["image"] for row in read_table(folder / "manifest.csv")]


@pytest.mark.parametrize(
    ("there", "kind", "write"),
    [
        ("x", "labelme", lambda folder: write_labelme(folder / "p1", "x", "x.png")),
        ("x", "labelme", lambda folder: write_labelme(folder / "p1", "x", "/far/x.png")),
        ("x", "labelme", lambda folder: write_labelme(folder, "x", "p1/x.png")),
        ("p2/x", "labelme", lambda folder: write_labelme(folder, "x", "x.png")),
        ("p2/x", "labelme", lambda folder: write_labelme(folder / "p1", "x", "../p2/y/x.png")),
        ("x", "coco", lambda folder: write_coco(folder, "p1/x.png", "other.png")),
        ("x", "coco", lambda folder: write_coco(folder / "p1", "x.png", "other.png")),
        ("p2/x", "coco", lambda folder: write_coco(folder, "x.png", "p3/other.png")),
        ("p2/x", "coco", lambda folder: write_coco(folder, "/far/p2/p1/x.png", "other.png")),
        ("x", "cvat", lambda folder: write_cvat(folder, "p1/x.png", "other.png")),
        ("p2/x", "cvat", lambda folder: write_cvat(folder, "x.png", "other.png")),
        ("x", "sheet", lambda folder: write_sheet(folder, "p1/x.png", "other.png")),
        ("p2/x", "sheet", lambda folder: write_sheet(folder, "x.png", "p3/other.png")),
    ],
)
def test_an_image_of_another_folder_is_not_taken(
    there: str, kind: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    """It has the name of the one that is missing, and may be of another patient."""
    data = tmp_path / "in"
    write_images(data, {there: MASK} if there == "x" else {})
    if there != "x":
        write_images(data / "p2", {"x": MASK})
    write(data)
    if kind == "labelme":
        write_images(data, {"other": MASK})
        write_labelme(data, "other", "other.png")
    elif kind == "coco":
        place = next(data.rglob("a.json")).parent
        write_images(place, {"other": MASK})
        write_images(data / "p3", {"other": MASK})
    else:
        write_images(data, {"other": MASK})
        write_images(data / "p3", {"other": MASK})
    convert(str(data / "s.csv" if kind == "sheet" else data), tmp_path / "out", source_format=kind)
    assert ELSEWHERE in problems_of(tmp_path / "out").values()
    assert {Path(image).stem for image in images_of(tmp_path / "out")} == {"other"}


@pytest.mark.parametrize(
    ("place", "images", "text"),
    [
        ("", "", "x.png"),
        ("", "images", "x.png"),
        ("", "JPEGImages", "x.png"),
        ("", "p1", "p1/x.png"),
        ("", "images/p1", "p1/x.png"),
        ("", "p1", "images/p1/x.png"),
        ("", "p1", "in/p1/x.png"),
        ("", "p1", "D:\\far\\p1\\x.png"),
        ("", "", "../x.png"),
        ("annotations", "images", "x.png"),
        ("annotations", "images/default", "x.png"),
        ("annotations", "images/default/p1", "p1/x.png"),
        ("p1", "p1", "x.png"),
        ("p1", "p1/images", "x.png"),
        ("p1/annotations", "p1/images", "x.png"),
        ("p1", "p1", "p1/x.png"),
        ("p1", "p1", "/far/x.png"),
    ],
)
def test_an_image_is_found_where_its_path_says(place: str, images: str, text: str, tmp_path: Path) -> None:
    """Also in folders whose names say nothing; one of that name elsewhere does not matter."""
    data = tmp_path / "in"
    write_images(data / images, {"x": MASK})
    write_images(data / "p2", {"x": MASK})
    write_coco(data / place, text, file="instances_default.json")
    convert(str(data), tmp_path / "out")
    assert images_of(tmp_path / "out") == [str(data / images / "x.png")]


def test_bare_names_are_of_any_folder_where_no_name_has_one(tmp_path: Path) -> None:
    write_images(tmp_path / "in" / "cysts", {"x": MASK})
    write_images(tmp_path / "in" / "tumors", {"y": MASK, "z": MASK})
    write_images(tmp_path / "in" / "cysts", {"z": MASK})
    (tmp_path / "in" / "s.csv").write_text("image,label\nx,benign\ny.png,malignant\nz.png,benign\n")
    convert(str(tmp_path / "in" / "s.csv"), tmp_path / "out", source_format="sheet")
    assert [Path(image).stem for image in images_of(tmp_path / "out")] == ["x", "y"]
    found = problems_of(tmp_path / "out")
    assert found == {"z.png": "several images of that name: cysts/z.png, tumors/z.png"}


def test_a_sheet_says_nothing_of_images_in_other_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "in", {"x": MASK})
    write_coco(tmp_path / "in", "x.png")
    (tmp_path / "s.csv").write_text("image,patient\np1/x.png,P1\n")
    convert(str(tmp_path / "in"), tmp_path / "out", sheet=tmp_path / "s.csv")
    assert problems_of(tmp_path / "out") == {"p1/x.png": "row of the sheet without an image"}
    assert read_table(tmp_path / "out" / "manifest.csv")[0]["patient"] == ""


def test_a_mask_of_another_folder_is_not_taken(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"x": MASK, "y": MASK})
    for folder in ("masks", "p2"):
        (tmp_path / folder).mkdir()
        Image.fromarray(MASK).save(tmp_path / folder / ("x.png" if folder == "masks" else "y.png"))
    rows = "images/x.png,benign,x.png\nimages/y.png,benign,p1/y.png\n"
    (tmp_path / "s.csv").write_text(f"image,label,mask\n{rows}")
    convert(str(tmp_path / "s.csv"), tmp_path / "out", source_format="sheet")
    assert problems_of(tmp_path / "out") == {"images/y.png": "no such mask: p1/y.png"}
    (row,) = read_table(tmp_path / "out" / "manifest.csv")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / row["mask"])) > 0, MASK)


def test_case_matters_only_where_it_tells_files_apart(tmp_path: Path) -> None:
    write_images(tmp_path, {"x": MASK, "y": MASK, "Y": MASK})
    (tmp_path / "s.csv").write_text("image,label\nX.PNG,normal\ny.png,benign\nY.PNG,benign\n")
    convert(str(tmp_path / "s.csv"), tmp_path / "out", source_format="sheet")
    assert images_of(tmp_path / "out") == [str(tmp_path / "x.png"), str(tmp_path / "y.png")]
    found = problems_of(tmp_path / "out")
    assert found == {"Y.PNG": "several images of that name: Y.png, y.png"}


def test_names_may_be_absolute_as_ids_of_a_manifest_are() -> None:
    names = Names(["/data/p1/x", "/data/p2/x", "/data/p3/y"])
    assert names.find("p1/x.png", stem=True) == names.find("/data/p1/x.png", stem=True) == ["/data/p1/x"]
    assert names.find("y", stem=True, bare=True) == ["/data/p3/y"]
    assert not names.find("y", stem=True)


def test_a_name_that_is_nowhere_says_so(tmp_path: Path) -> None:
    write_images(tmp_path, {"x": MASK})
    write_coco(tmp_path, "y.png")
    with pytest.raises(InputError, match=NO_IMAGE):
        convert(str(tmp_path), tmp_path / "out")


def test_no_path_means_a_file_of_a_folder_that_it_does_not_name() -> None:
    """Property: whatever the tree, what is found has the folders of the path, without idle ones."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        every = [
            "/".join([*rng.choice(["p1", "p2", "images"], rng.integers(0, 3)), "x.png"]) for _ in range(4)
        ]
        names = Names(every)
        text = "/".join([*rng.choice(["p1", "p2", "images"], rng.integers(0, 3)), "x.png"])
        wanted = [part for part in text.split("/") if part != "images"]
        assert all([one for one in name.split("/") if one != "images"] == wanted for name in names.find(text))
        assert text not in every or names.find(text) == [text]
