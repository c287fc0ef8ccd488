"""COCO, LabelMe and CVAT files as others write them: whole, damaged, and of other kinds."""

import base64
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_masks

from busi.core.tables import read_table
from busi.core.types import InputError
from busi.formats.annotations import MAY_BE_MISSING, NOTHING_SAID
from busi.formats.coco import unpack_counts
from busi.formats.converting import convert
from busi.formats.cvat_masks import DEEPER
from busi.formats.known import recognize
from busi.formats.run_lengths import from_runs, to_runs
from tests.formats.made import HEIGHT, WIDTH, draw_masks, problems_of, read_back, same, write_images

TRIANGLE = [[5.2, 3.9], [30.4, 8.0], [12.0, 30.7]]
FLAT = [number for point in TRIANGLE for number in point]


def write_coco(folder: Path, segmentation: object, **more: Any) -> Path:
    """A file with one image, ``benign a.png``, and one annotation of the category tumor."""
    write_images(folder, {"benign a": draw_masks()["benign a"]})
    image = {"id": 7, "file_name": "benign a.png", "width": WIDTH, "height": HEIGHT}
    one = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": segmentation}
    content = {"images": [image], "annotations": [one], "categories": [{"id": 3, "name": "Tumor"}], **more}
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    return path


def convert_one(path: Path, tmp_path: Path) -> Any:
    convert(str(path), tmp_path / "out", labels={"tumor": "benign"})
    return read_back(tmp_path / "out")["benign a"]


@pytest.mark.parametrize("kind", ["polygon", "two polygons", "runs", "compressed"])
def test_coco_segmentations_are_what_pycocotools_decodes(kind: str, tmp_path: Path) -> None:
    mask = draw_masks()["malignant (1)"]
    packed = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    flat = np.concatenate([[0], np.flatnonzero(np.diff(mask.T.ravel().astype(int))) + 1, [mask.size]])
    runs = [0] * int(mask[0, 0]) + np.diff(flat).tolist()
    other = [40, 1, 48, 1, 48, 9]
    given: dict[str, Any] = {
        "polygon": [FLAT],
        "two polygons": [FLAT, other],
        "runs": {"size": [HEIGHT, WIDTH], "counts": runs},
        "compressed": {"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()},
    }
    expected = mask
    if "polygon" in kind:
        rles = coco_masks.frPyObjects(given[kind], HEIGHT, WIDTH)
        expected = coco_masks.decode(coco_masks.merge(rles)).astype(bool)
    assert np.array_equal(convert_one(write_coco(tmp_path, given[kind]), tmp_path), expected)


def test_runs_of_any_mask_come_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random(rng.integers(1, 30, 2)) < rng.random()
        packed = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert np.array_equal(from_runs(unpack_counts(packed), *mask.shape, by_rows=False), mask)
        assert np.array_equal(from_runs(to_runs(mask), *mask.shape), mask)


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([[1, 2, 3, 4]], "polygon of less than three points"),
        ([[1, 2, 3, 4, 5]], "polygon with an odd number of coordinates"),
        ([[1, 2, 3, 4, 5, "x"]], "coordinate that is no number"),
        ([[1, 2, 3, 4, 5, 1e12]], "polygon that lies far beside its image"),
        ([[1, 2, 3, 4, 5, None]], "coordinate that is no number"),
        ([[60, 5, 70, 5, 70, 9]], "lesion with an empty mask"),
        ([[-1, -1, 60, -1, 60, 60, -1, 60]], "mask whose whole border is lesion: is it inverted?"),
        ({"size": [1, 1], "counts": [1]}, "run lengths of another size than the image: [1, 1] for [36, 50]"),
        ({"size": [HEIGHT, WIDTH], "counts": [1, 2]}, "run lengths of 3 pixels for 50 x 36"),
        ({"size": [HEIGHT, WIDTH], "counts": [10**12, -1]}, "run lengths that are no whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": "0000"}, "run lengths of 0 pixels for 50 x 36"),
        ({"size": [HEIGHT, WIDTH], "counts": "o" * 40}, "damaged run lengths"),
        ({"size": [HEIGHT, WIDTH], "counts": "é"}, "damaged run lengths"),
        ({"counts": 3}, "run lengths that are no whole numbers"),
        ("abc", "run lengths that are no whole numbers"),
        ([], "image without annotation or class: say what such images are, e.g. --empty normal"),
    ],
)
def test_coco_segmentations_that_are_damaged_are_a_row(
    segmentation: object, problem: str, tmp_path: Path
) -> None:
    path = write_coco(tmp_path, segmentation)
    if segmentation == []:
        path.write_text(path.read_text().replace("Tumor", "mask"))
    with pytest.raises(InputError) as caught:
        convert_one(path, tmp_path)
    assert problem in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    write_coco(tmp_path, [FLAT])
    os.mkfifo(tmp_path / "b.json")
    (tmp_path / "c.json").symlink_to("/dev/zero")
    assert convert_one(tmp_path, tmp_path).any()


def test_linked_folders_are_read_once_and_by_their_own_path(tmp_path: Path) -> None:
    """Also where links lead back, in rings, or to a folder that is there anyway."""
    write_labelme(tmp_path / "in" / "own", shape(label="benign"))
    write_labelme(tmp_path / "far", shape(label="benign"), name="b")
    for name, target in {"a": "own", "far": "../far", "again": "../far", "up": "..", "ring": "."}.items():
        (tmp_path / "in" / name).symlink_to(target)
    (tmp_path / "far" / "back").symlink_to("../in/own")
    assert not convert(str(tmp_path / "in"), tmp_path / "out")
    rows = read_table(tmp_path / "out" / "manifest.csv")
    assert [row["id"] for row in rows] == ["again/b", "own/benign a"]


@pytest.mark.parametrize(
    "name", ["C:\\us\\p1\\IM1.png", "/mnt/p1/IM1.png", "../../p1/IM1.png", "p1/x/../IM1.png"]
)
def test_paths_of_another_computer_stand_for_their_end(name: str, tmp_path: Path) -> None:
    for part in ("img/p1", "img/p2", "outside"):
        write_images(tmp_path / part, {"IM1": draw_masks()["benign a"]})
    image = {"id": 1, "file_name": name}
    path = write_objects(tmp_path / "a.json", [image], [{"image_id": 1}])
    convert(str(path), tmp_path / "out", images=tmp_path / "img")
    rows = read_table(tmp_path / "out" / "manifest.csv")
    assert [row["image"] for row in rows] == [str(tmp_path / "img" / "p1" / "IM1.png")]
    for wrong in ("/mnt/IM1.png", "../outside/IM1.png", str(tmp_path / "outside" / "IM1.png")):
        write_objects(path, [{**image, "file_name": wrong}], [{"image_id": 1}])
        with pytest.raises(InputError, match="no such image"):
            convert(str(path), tmp_path / "other", images=tmp_path / "img")
    write_objects(path, [{**image, "file_name": "/IM1.png"}], [{"image_id": 1}])
    with pytest.raises(InputError, match="several images of that name"):
        convert(str(path), tmp_path / "other", images=tmp_path / "img")


def test_every_fault_of_a_coco_file_is_a_row(tmp_path: Path) -> None:
    names = ["benign a", "benign b", "benign c", "benign d", "benign e", "benign f", "benign g"]
    write_images(tmp_path, dict.fromkeys(names, draw_masks()["benign a"]))
    sizes = {"width": WIDTH, "height": HEIGHT}
    images: list[Any] = [{"id": k, "file_name": f"{name}.png", **sizes} for k, name in enumerate(names)]
    images[2] |= {"width": HEIGHT, "height": WIDTH}
    images += [
        {"id": 20, "file_name": "../beside.png"},
        {"id": 21, "file_name": "/etc/passwd"},
        {"id": 22, "file_name": "gone.png"},
        {"id": 23},
        {"id": [1], "file_name": "benign f.png", **sizes},
        3,
    ]
    one = {"category_id": 1, "segmentation": [FLAT]}
    annotations: list[Any] = [
        {**one, "image_id": 0},
        {**one, "image_id": 1, "category_id": 9},
        {**one, "image_id": 2},
        {"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {**one, "image_id": 4},
        {**one, "image_id": 4, "category_id": 2},
        {**one, "image_id": 77},
        {"image_id": 6, "category_id": 3},
        "x",
    ]
    categories = [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}, {"id": 3, "name": "normal"}, 4]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "b.json").write_text("{" * 100_000)
    (tmp_path / "c.json").write_text('{"other": 1}')
    (tmp_path / "d.json").write_text('{"images": []')
    convert(str(tmp_path), tmp_path / "out", empty="benign")
    found = problems_of(tmp_path / "out")
    missing = "no such image: give the folder of the images with --images"
    assert found == {
        "benign b.png": "category 9 that the file does not name",
        "benign c.png": "annotation of another size than its image: 36 x 50 for 50 x 36 pixels, turned",
        "benign d.png": "a box instead of a mask: draw the outline, or map its category to ignore",
        "benign e.png": "image of several classes: benign and malignant",
        "benign f.png": "image without an id",
        "../beside.png": missing,
        "/etc/passwd": missing,
        "gone.png": missing,
        "image 11": "image without file_name",
        "image 13": "image without file_name",
        "image_id 77": "annotation of an image that the file does not list",
        "image_id None": "annotation of an image that the file does not list",
        "b.json": "damaged JSON",
        "c.json": "JSON of another kind",
        "d.json": "damaged JSON",
    }
    labels = {row["id"]: row["label"] for row in read_table(tmp_path / "out" / "manifest.csv")}
    assert labels == {"benign a": "benign", "benign g": "normal"}


def test_words_that_nobody_maps_are_one_error_that_lists_them(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [FLAT])
    with pytest.raises(InputError, match=r"'Tumor' \(1\). Give --labels '\{Tumor: malignant\}'"):
        convert(str(path), tmp_path / "out")
    with pytest.raises(InputError, match="lesion without a class: map its category"):
        convert(str(path), tmp_path / "out", labels={"tumor": "mask"})
    convert(str(path), tmp_path / "out", labels={"tumor": "ignore"}, empty="normal")
    assert read_table(tmp_path / "out" / "manifest.csv")[0]["label"] == "normal"


def to_base64(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write_labelme(folder: Path, *shapes: Any, name: str = "benign a", **more: Any) -> Path:
    write_images(folder, {name: draw_masks()["benign a"]})
    content = {"flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None, **more}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"imageHeight": HEIGHT, "imageWidth": WIDTH, **content}))
    return path


def shape(kind: str = "polygon", points: Any = TRIANGLE, **more: Any) -> dict[str, Any]:
    return {"label": "tumor", "shape_type": kind, "points": points, **more}


def test_labelme_shapes_are_filled_as_labelme_does(tmp_path: Path) -> None:
    canvas = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in TRIANGLE], outline=1, fill=1)
    ImageDraw.Draw(canvas).ellipse([35, 15, 45, 25], outline=1, fill=1)
    path = write_labelme(tmp_path, shape(), shape("circle", [[40, 20], [43, 24]]))
    assert np.array_equal(convert_one(path, tmp_path), np.asarray(canvas))


def test_labelme_labels_may_be_numbers(tmp_path: Path) -> None:
    write_labelme(tmp_path, {**shape(), "label": 1})
    assert not convert(str(tmp_path), tmp_path / "out", labels={"1": "benign"})
    assert [row["label"] for row in read_table(tmp_path / "out" / "manifest.csv")] == ["benign"]


def test_labelme_masks_flags_and_embedded_images(tmp_path: Path) -> None:
    part = draw_masks()["benign a"][5:26, 8:41]
    mask = shape("mask", [[8.0, 5.0], [40.0, 25.0]], mask=to_base64(Image.fromarray(part)))
    write_labelme(tmp_path / "a", {**mask, "label": "lesion"}, flags={"Benign": True, "blurred": False})
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8))
    write_labelme(tmp_path / "a", mask, name="benign c", imageData=to_base64(image), imagePath="../../x.png")
    (tmp_path / "a" / "benign c.png").unlink()
    convert(str(tmp_path / "a"), tmp_path / "out", labels={"lesion": "mask", "tumor": "benign"})
    masks = read_back(tmp_path / "out")
    assert same(masks, dict.fromkeys(("benign a", "benign c"), draw_masks()["benign a"]))
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "out" / "images" / "benign c.png")), np.asarray(image)
    )


def test_annotations_in_a_linked_folder_are_read_once(tmp_path: Path) -> None:
    write_labelme(tmp_path / "elsewhere", shape())
    (tmp_path / "data").mkdir()
    for name, target in (("more", "../elsewhere"), ("twice", "../elsewhere"), ("back", ".")):
        (tmp_path / "data" / name).symlink_to(target)
    assert not convert(str(tmp_path / "data"), tmp_path / "out", labels={"tumor": "benign"})
    assert read_back(tmp_path / "out").keys() == {"benign a"}


def test_labelme_files_beside_the_folder_of_their_images(tmp_path: Path) -> None:
    write_labelme(tmp_path / "data" / "json", shape(), imagePath="..\\images\\benign a.png")
    (tmp_path / "data" / "json" / "benign a.png").unlink()
    write_images(tmp_path / "data" / "images", {"benign a": draw_masks()["benign a"]})
    convert(str(tmp_path / "data"), tmp_path / "one", labels={"tumor": "benign"})
    images = tmp_path / "data" / "images"
    convert(str(tmp_path / "data" / "json"), tmp_path / "two", labels={"tumor": "benign"}, images=images)
    assert same(read_back(tmp_path / "one"), read_back(tmp_path / "two"))


@pytest.mark.parametrize("lead", ["", "..\\..\\img\\p{}\\", "D:\\other\\"])
def test_labelme_files_in_folders_of_patients_keep_their_images(lead: str, tmp_path: Path) -> None:
    for k in (1, 2):
        place = tmp_path / "json" / f"p{k}"
        write_labelme(place, shape(), name="IM1", imagePath=f"{lead.format(k)}IM1.png")
        (tmp_path / "img" / f"p{k}").mkdir(parents=True)
        (place / "IM1.png").rename(tmp_path / "img" / f"p{k}" / "IM1.png")
    labels = {"tumor": "benign"}
    assert not convert(str(tmp_path / "json"), tmp_path / "out", labels=labels, images=tmp_path / "img")
    rows = read_table(tmp_path / "out" / "manifest.csv")
    assert [row["id"] for row in rows] == ["p1/IM1", "p2/IM1"]
    (tmp_path / "img" / "p1" / "IM1.png").unlink()
    problems = convert(str(tmp_path / "json"), tmp_path / "less", labels=labels, images=tmp_path / "img")
    assert [problem.kind.startswith("no such image") for problem in problems] == [True]
    rows = read_table(tmp_path / "less" / "manifest.csv")
    assert [row["id"] for row in rows] == ["p2/IM1"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (shape("rectangle", [[1, 1], [9, 9]]), "a rectangle instead of a mask"),
        (shape("line", [[1, 1], [9, 9]]), "a line instead of a mask"),
        (shape(points=[[1, 1], [2, 2]]), "polygon of less than three points"),
        (shape(points=[1, 2]), "shape without points"),
        (shape(points=[[1, 1], [2, 2], [1e9, 3]]), "polygon that lies far beside"),
        (shape("circle", [[1, 1]]), "circle without a middle"),
        (shape("mask", [[0, 0], [9, 9]]), "mask without its corners or its pixels"),
        (shape("mask", [[0, 0], [9, 9]], mask="????"), "damaged image inside"),
        (shape("mask", [[0, 0], [9, 9]], mask=to_base64(Image.new("L", (9, 9), 1))), "mask of another size"),
        (shape("mask", [[45, 0], [54, 9]], mask=to_base64(Image.new("L", (10, 10), 1))), "mask that reaches"),
        ({"points": TRIANGLE}, "shape without a label"),
        (5, "shape without a label"),
    ],
)
def test_labelme_shapes_that_are_no_masks_are_a_row(given: Any, problem: str, tmp_path: Path) -> None:
    write_labelme(tmp_path, given)
    write_labelme(tmp_path, shape(), name="benign b")
    (tmp_path / "notes.json").write_text("[1]")
    convert(str(tmp_path), tmp_path / "out", labels={"tumor": "benign"})
    found = problems_of(tmp_path / "out")
    assert next(text for name, text in found.items() if name.startswith("benign a")).startswith(problem)
    assert found["notes.json"] == "JSON of another kind"
    assert len(read_table(tmp_path / "out" / "manifest.csv")) == 1


def write_cvat(folder: Path, inside: str, root: str = "annotations") -> Path:
    write_images(folder / "images" / "sub", {"benign a": draw_masks()["benign a"]})
    image = f'<image id="0" name="sub/benign a.png" width="{WIDTH}" height="{HEIGHT}">{inside}</image>'
    path = folder / "annotations.xml"
    path.write_text(f'<?xml version="1.0"?><{root}><version>1.1</version>{image}</{root}>')
    return path


POLYGON = f'<polygon label="tumor" points="{";".join(f"{x},{y}" for x, y in TRIANGLE)}"/>'


def test_cvat_shapes_are_filled_as_cvat_exports_them(tmp_path: Path) -> None:
    ellipse = '<ellipse label="tumor" cx="40.4" cy="20.6" rx="6.2" ry="3.4" rotation="30"/>'
    mask = '<mask label="tumor" rle="1, 2, 3, 3" left="2" top="30" width="3" height="3"/>'
    expected = coco_masks.decode(coco_masks.frPyObjects([FLAT], HEIGHT, WIDTH))[..., 0].copy("C")
    cv2.ellipse(expected, (40, 21), (6, 3), 30, 0, 360, 1, -1)
    pixels = [(0, 1), (0, 2), (2, 0), (2, 1), (2, 2)]
    for y, x in pixels:
        expected[30 + y, 2 + x] = 1
    write_cvat(tmp_path, POLYGON + ellipse + mask)
    assert np.array_equal(convert_one(tmp_path, tmp_path), expected.astype(bool))


def test_frames_that_cvat_names_without_suffix_are_found(tmp_path: Path) -> None:
    path = write_cvat(tmp_path, POLYGON)
    path.write_text(path.read_text().replace('a.png"', 'a"'))
    assert convert_one(tmp_path, tmp_path).any()


@pytest.mark.parametrize(
    ("inside", "problem"),
    [
        ('<box label="tumor" xtl="1" ytl="1" xbr="9" ybr="9"/>', "a box instead of a mask"),
        ('<polyline label="tumor" points="1,1;2,2"/>', "a line instead of a mask"),
        ('<polygon label="tumor" points="1,1;2,2"/>', "polygon of less than three points"),
        ('<polygon label="tumor" points="1,1;2,b;3,3"/>', "coordinate that is no number"),
        ('<polygon points="1,1;2,2;3,3"/>', "polygon without a label"),
        ('<mask label="tumor" rle="4" left="0" top="0" width="1" height="1"/>', "run lengths of 4 pixels"),
        ('<mask label="tumor" rle="0,9" left="48" top="0" width="3" height="3"/>', "mask that reaches out"),
        ('<mask label="tumor" rle="0,1e99" left="0" top="0" width="3" height="3"/>', "size or run length"),
        ('<mask label="tumor" rle="0,9" left="0" top="0" width="x" height="3"/>', "size or run length"),
        (POLYGON + '<tag label="malignant"/>', "image of several classes"),
        (POLYGON + '<tag label="normal"/>', "image of several classes"),
        ("<a>" * 100_000, "XML that is nested too deep"),
        ("<a>", "damaged XML"),
    ],
)
def test_cvat_shapes_that_are_no_masks_are_a_row(inside: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        convert_one(write_cvat(tmp_path, inside), tmp_path)
    assert problem in str(caught.value)


def test_attributes_of_cvat_are_named_as_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inside = '<attribute name="pathology">malignant</attribute></polygon>'
    path = write_cvat(tmp_path, POLYGON.replace("/>", f">{inside}"))
    with pytest.raises(InputError, match="lesion without a class"):
        convert(str(path), tmp_path / "out", labels={"tumor": "mask"})
    assert "Attributes are not read (pathology): give the class as a label, a tag" in caplog.text


def test_cvat_files_with_definitions_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = write_cvat(tmp_path, POLYGON)
    text = path.read_text()
    path.write_text(text.replace("<annotations>", '<!DOCTYPE a [<!ENTITY x "y">]><annotations>'))
    with pytest.raises(InputError, match="XML with definitions of its own"):
        convert(str(path), tmp_path / "out")
    path.write_text(text.replace("annotations>", "annotation>"))
    with pytest.raises(InputError, match="XML of another kind"):
        convert(str(path), tmp_path / "out", source_format="cvat")
    path.write_text(text.replace("<image", '<track id="4"/><image'))
    convert(str(path), tmp_path / "out", labels={"tumor": "benign"})
    assert problems_of(tmp_path / "out") == {
        "track 4": "track of a video: export the task as CVAT for images 1.1"
    }


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What CVAT exports as segmentation mask 1.1, with a subfolder, and an image without a mask."""
    folder, masks = tmp_path / "export", draw_masks()
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "default.txt").write_text(
        "sub/benign a\nmalignant (1)\nnormal x\n"
    )
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "benign:250,50,83::", "evil:0,128,0::"]
    (folder / "labelmap.txt").write_text("\n".join(lines))
    for name, color in {"benign a": (250, 50, 83), "malignant (1)": (0, 128, 0)}.items():
        place = folder / "SegmentationClass" / ("sub" if name == "benign a" else "")
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((masks[name][..., None] * np.array(color)).astype(np.uint8))
        (image.quantize(4) if name == "benign a" else image).save(place / f"{name}.png")
    write_images(folder / "JPEGImages" / "sub", {"benign a": masks["benign a"]})
    write_images(folder / "JPEGImages", {name: masks[name] for name in ("malignant (1)", "normal x")})
    return folder


def test_masks_that_cvat_exports(exported: Path, tmp_path: Path) -> None:
    assert recognize(exported) == "cvat-masks"
    convert(str(exported), tmp_path / "out", labels={"evil": "malignant"}, empty="normal")
    masks = read_back(tmp_path / "out")
    del masks["normal x"]
    assert same(masks, {name: draw_masks()[name] for name in masks})


def test_masks_of_cvat_with_other_colors_sizes_or_images_are_rows(exported: Path, tmp_path: Path) -> None:
    images: dict[str, Callable[[], Image.Image]] = {
        "other color": lambda: Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)),
        "other size": lambda: Image.new("RGB", (9, 9), (250, 50, 83)),
        "no image": lambda: Image.new("RGB", (WIDTH, HEIGHT), (250, 50, 83)),
    }
    for name, make in images.items():
        make().save(exported / "SegmentationClass" / f"{name}.png")
        if name != "no image":
            write_images(exported / "JPEGImages", {name: draw_masks()["benign a"]})
    write_images(exported / "JPEGImages", {"bad": draw_masks()["benign a"]})
    (exported / "SegmentationClass" / "bad.png").write_bytes(b"x")
    convert(str(exported), tmp_path / "out", labels={"evil": "malignant"}, empty="normal")
    assert problems_of(tmp_path / "out") == {
        "other color": "mask with a color that labelmap.txt does not name (1,2,3)",
        "JPEGImages/other size.png": "mask of another size than its image: 9 x 9 for 50 x 36 pixels",
        "no image": "no such image: give the folder of the images with --images",
        "bad": "unreadable or truncated file",
        "JPEGImages/normal x.png": MAY_BE_MISSING,
    }
    for wrong in ("benign:1,2", "a:1,2,3::\nb:1,2,3::"):
        (exported / "labelmap.txt").write_text(wrong)
        with pytest.raises(InputError, match="labelmap.txt"):
            convert(str(exported), tmp_path / "other")


def test_masks_of_cvat_that_lie_deeper_are_rows(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "SegmentationClass", exported / "old" / "SegmentationClass")
    convert(str(exported), tmp_path / "out", labels={"evil": "malignant"})
    found = problems_of(tmp_path / "out")
    assert found.pop("JPEGImages/normal x.png") == NOTHING_SAID
    assert found == {
        f"old/SegmentationClass/{name}.png": DEEPER for name in ("sub/benign a", "malignant (1)")
    }
    assert read_back(tmp_path / "out").keys() == {"benign a", "malignant (1)"}


@pytest.mark.parametrize("kind", ["coco", "cvat", "cvat-masks", "sheet"])
def test_images_that_no_annotation_names_are_told(
    kind: str, exported: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    data, masks = exported if kind == "cvat-masks" else tmp_path / "in", draw_masks()
    if kind == "cvat-masks":
        shutil.rmtree(exported / "ImageSets")
    elif kind == "coco":
        write_images(data, masks)
        listed = [{"id": name, "file_name": f"{name}.png"} for name in masks if "normal" not in name]
        write_objects(data / "a.json", listed, [{"image_id": image["id"]} for image in listed])
    elif kind == "cvat":
        write_cvat(data, POLYGON.replace("tumor", "benign"))
        write_images(data / "images", {"normal x": masks["normal x"]})
    else:
        write_images(data, {name: masks[name] for name in ("benign a", "benign b", "normal x")})
        (data / "s.csv").write_text("image,mask,label\nbenign a.png,benign b.png,benign\n")
        Image.fromarray(masks["benign b"]).save(data / "benign b.png")
    given = data / "s.csv" if kind == "sheet" else data
    convert(str(given), tmp_path / "out", labels={"evil": "malignant"}, source_format=kind)
    (line,) = [text for text in caplog.messages if "in no annotation" in text]
    assert line.startswith("1 images of the folder")
    assert line.endswith("normal x.png)")


def write_objects(
    path: Path, images: list[Any], annotations: list[Any], *categories: tuple[int, str]
) -> Path:
    """A COCO file, with a polygon for each annotation."""
    drawn = [{"category_id": 1, "segmentation": [FLAT], **one} for one in annotations]
    listed = [{"id": key, "name": name} for key, name in categories or [(1, "benign")]]
    path.write_text(json.dumps({"images": images, "annotations": drawn, "categories": listed}))
    return path


@pytest.mark.parametrize("kind", ["truncated", "no image", "image beside", "other id", "cvat"])
def test_nothing_said_counts_only_where_every_annotation_was_read(kind: str, tmp_path: Path) -> None:
    """An image whose annotation may be the one that cannot be used is no normal image."""
    data = tmp_path / "in"
    if kind == "other id":
        write_images(data, {name: draw_masks()["benign a"] for name in ("benign a", "b", "c")})
        images = [{"id": k, "file_name": f"{name}.png"} for k, name in enumerate(("benign a", "b", "c"))]
        write_objects(data / "a.json", images, [{"image_id": 0}, {"image_id": "1"}])
        failed = "image_id 1"
    elif kind == "cvat":
        path, failed = write_cvat(data, POLYGON.replace("tumor", "benign")), "annotations.xml"
        write_images(data / "images", {name: draw_masks()["benign a"] for name in ("b", "c")})
        listed = "".join(f'<image id="1" name="{x}" width="50" height="36"/>' for x in ("b.png", "c.png"))
        path.write_text(path.read_text().replace("</annotations>", f"{listed}<image id="))
    else:
        write_labelme(data, shape(label="benign"))
        more = {"imagePath": "gone.png"} if kind != "truncated" else {}
        more |= {"imageData": to_base64(Image.new("L", (WIDTH, HEIGHT)))} if kind == "image beside" else {}
        path, failed = write_labelme(data, shape(label="benign"), name="b", **more), "b.json"
        path.write_text(path.read_text()[:-30] if kind == "truncated" else path.read_text())
        write_images(data, {"c": draw_masks()["benign a"]})
    (data / "notes.json").write_text('{"other": 1}')
    convert(str(data), tmp_path / "out", empty="normal", source_format="cvat" if kind == "cvat" else None)
    found = {name.removeprefix("images/"): text for name, text in problems_of(tmp_path / "out").items()}
    assert failed in found
    assert found["b.png"] == found["c.png"] == MAY_BE_MISSING
    assert [row["label"] for row in read_table(tmp_path / "out" / "manifest.csv")] == ["benign"]


def test_a_damaged_shape_is_a_row_of_its_image_and_of_no_other(tmp_path: Path) -> None:
    write_labelme(tmp_path / "in", {**shape(points=None), "label": "benign"}, name="b")
    write_images(tmp_path / "in", {"c": draw_masks()["benign a"]})
    convert(str(tmp_path / "in"), tmp_path / "out", empty="normal")
    assert problems_of(tmp_path / "out") == {"b.png": "shape without points"}
    assert [row["id"] for row in read_table(tmp_path / "out" / "manifest.csv")] == ["c"]


def test_a_class_that_a_sheet_gives_to_no_image_may_be_that_of_any(tmp_path: Path) -> None:
    write_labelme(tmp_path / "in", shape(label="benign"))
    write_images(tmp_path / "in", {"b": draw_masks()["benign a"]})
    (tmp_path / "s.csv").write_text("image,label\nbenign a,benign\nmisspelt,malignant\n")
    convert(str(tmp_path / "in"), tmp_path / "one", empty="normal", sheet=tmp_path / "s.csv")
    assert problems_of(tmp_path / "one") == {
        "misspelt": "row of the sheet without an image",
        "b.png": MAY_BE_MISSING,
    }
    (tmp_path / "s.csv").write_text("image,patient\nbenign a,1\nanother,2\n")
    convert(str(tmp_path / "in"), tmp_path / "two", empty="normal", sheet=tmp_path / "s.csv")
    assert problems_of(tmp_path / "two").keys() == {"another"}


def test_coco_ids_tell_images_and_categories_apart(tmp_path: Path) -> None:
    write_images(tmp_path, {name: draw_masks()["benign a"] for name in ("a", "b", "c", "d", "e")})
    images: list[Any] = [
        {"id": 1, "file_name": "a.png"},
        {"id": 1, "file_name": "b.png"},
        {"id": 2, "file_name": "c.png"},
        {"file_name": "d.png"},
        {"id": True, "file_name": "e.png"},
    ]
    path = write_objects(tmp_path / "a.json", images, [{"image_id": 1}, {"image_id": 2}])
    convert(str(path), tmp_path / "out", empty="normal")
    twice = "image with the id of another one (1)"
    assert problems_of(tmp_path / "out") == {
        "a.png": twice,
        "b.png": twice,
        "d.png": "image without an id",
        "e.png": "image without an id",
    }
    assert [row["id"] for row in read_table(tmp_path / "out" / "manifest.csv")] == ["c"]
    write_objects(path, images[2:3], [{"image_id": 2}], (1, "benign"), (1, "malignant"))
    with pytest.raises(InputError, match="two categories with the id 1: benign and malignant"):
        convert(str(path), tmp_path / "other")
    write_objects(path, images[2:3], [{"image_id": 2}], (1, "benign"), (1, "benign"), (2, "benign"))
    assert not convert(str(path), tmp_path / "same")


def test_numbers_of_coco_that_pandas_wrote_are_whole(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": draw_masks()["benign a"]})
    images = [{"id": 1.0, "file_name": "a.png", "height": float(HEIGHT), "width": float(WIDTH)}]
    path = write_objects(tmp_path / "a.json", images, [{"image_id": 1.0}], (1, "benign"))
    assert not convert(str(path), tmp_path / "out", empty="normal")


def test_an_image_of_two_files_of_which_one_is_wrong_is_a_row(tmp_path: Path) -> None:
    write_images(tmp_path / "in", {name: draw_masks()["benign a"] for name in ("a", "b")})
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    write_objects(tmp_path / "in" / "1.json", images, [{"image_id": 1}, {"image_id": 2}])
    write_objects(tmp_path / "in" / "2.json", images[:1], [{"image_id": 1, "category_id": 7}])
    convert(str(tmp_path / "in"), tmp_path / "out")
    assert problems_of(tmp_path / "out").keys() == {"a.png"}
    assert [row["id"] for row in read_table(tmp_path / "out" / "manifest.csv")] == ["b"]
