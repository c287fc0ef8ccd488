"""MetaImage as ITK, 3D Slicer and ITK-SNAP write it: packed or not, in one file or two, and damaged."""

import contextlib
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Shaped
from PIL import Image

from busi.core.types import InputError
from busi.data.files import read_gray
from busi.data.manifest import read_csv
from busi.formats.converting import convert
from busi.formats.known import recognize
from busi.formats.metaimage import read_metaimage
from busi.formats.orientation import to_slice
from busi.formats.volumes import read_volume
from tests.formats.made import draw_masks, problems_of, read_back, same, write_images

MASK = draw_masks()["benign a"].astype(np.uint8)
GRAY = np.random.default_rng(0).integers(0, 256, MASK.shape, np.uint8)
BENIGN = {"1": "benign"}
TYPES = {"u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "f4": "MET_FLOAT", "u8": "MET_ULONG_LONG"}


def save(path: Path, values: Shaped[np.ndarray, "h w *c"], **fields: object) -> Path:
    """Write rows and columns as ITK does, in one file unless a field names another.

    Args:
        path: Of the header.
        values: Of the image.
        **fields: Of the header, in place of its own; those that are None are left out.
    """
    color = {"ElementNumberOfChannels": values.shape[2]} if values.ndim > 2 else {}
    header = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": values.dtype.byteorder == ">",
        "CompressedData": False,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "0.1 0.2 1",
        "DimSize": f"{values.shape[1]} {values.shape[0]} 1",
        **color,
        "ElementType": TYPES[values.dtype.str[1:]],
        **fields,
    }
    header["ElementDataFile"] = header.pop("ElementDataFile", "LOCAL")  # the last one
    content = values.tobytes()
    if header["CompressedData"]:
        content = zlib.compress(content)
    lines = "".join(f"{name} = {value}\n" for name, value in header.items() if value is not None).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if header["ElementDataFile"] == "LOCAL":
        path.write_bytes(lines + content)
    else:
        path.write_bytes(lines)
        path.with_name(str(header["ElementDataFile"])).write_bytes(content)
    return path


def read_rows(path: Path) -> Shaped[np.ndarray, "h w"]:
    return to_slice(read_volume(path), "header").layers[0]


FLAT = {
    "NDims": 2,
    "DimSize": "50 36",
    "TransformMatrix": "1 0 0 1",
    "Offset": "0 0",
    "ElementSpacing": "1 2",
}


@pytest.mark.parametrize(
    ("name", "kind", "fields"),
    [
        ("a.mha", "u1", {}),
        ("a.mha", "u1", {"CompressedData": True, "CompressedDataSize": 400}),
        ("a.mha", "<f4", {"CompressedData": True}),
        ("a.mha", ">u2", {}),
        ("a.mha", ">i2", {"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "True"}),
        ("a.mha", "u1", {"ObjectType": None, "TransformMatrix": None, "ElementSpacing": None}),
        ("a.mha", "u1", FLAT),
        ("a.mhd", "<u8", {"ElementDataFile": "a.raw"}),
        ("a.mhd", "u1", {"ElementDataFile": "a.zraw", "CompressedData": True}),
        ("a.mhd", "u1", {"ElementDataFile": "odd name.raw", **FLAT}),
    ],
)
def test_every_way_to_save_an_image_is_read(
    name: str, kind: str, fields: dict[str, object], tmp_path: Path
) -> None:
    path = save(tmp_path / name, GRAY.astype(kind), **fields)
    assert np.array_equal(read_rows(path), GRAY)
    assert recognize(path) == "metaimage"
    assert np.array_equal(read_rows(path.rename(tmp_path / "of any name")), GRAY)


def test_the_size_of_a_pixel_is_its_spacing_where_nothing_else_says_it(tmp_path: Path) -> None:
    for name, fields in (("size", {"ElementSpacing": None}), ("both", {"ElementSpacing": "0.1 0.2 1"})):
        path = save(tmp_path / f"{name}.mha", GRAY, **fields, ElementSize="0.3 0.4 1")
        spacing = (0.4, 0.3) if name == "size" else (0.2, 0.1)
        assert to_slice(read_volume(path), "header").spacing == pytest.approx(spacing)


def test_values_after_a_header_of_their_own_are_found(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mhd", GRAY, ElementDataFile="a.raw")
    (tmp_path / "a.raw").write_bytes(b"12345" + GRAY.tobytes())
    for skipped in (5, -1):
        text = path.read_text().replace("ElementDataFile", f"HeaderSize = {skipped}\nElementDataFile")
        path.with_name("b.mhd").write_text(text)
        assert np.array_equal(read_rows(path.with_name("b.mhd")), GRAY)


def test_data_sets_of_images_and_masks(tmp_path: Path) -> None:
    """Also beside images and masks of other formats; a turned image is turned back, color becomes gray."""
    data, names = tmp_path / "in", [f"benign {k}" for k in range(1, 5)]
    write_images(data, dict.fromkeys(names[:2], MASK > 0))
    save(data / "benign 1_mask.mha", MASK, CompressedData=True)
    save(data / "benign 2-label.mhd", MASK, ElementDataFile="benign 2-label.raw")
    save(data / "benign 3.mha", GRAY[:, ::-1], TransformMatrix="-1 0 0 0 1 0 0 0 1")
    save(data / "benign 3.seg.mha", MASK[:, ::-1], TransformMatrix="-1 0 0 0 1 0 0 0 1")
    color = np.stack([GRAY, GRAY // 2, 255 - GRAY], -1)
    save(data / "benign 4.mhd", color, ElementDataFile="benign 4.raw")
    save(data / "benign 4_mask.mhd", MASK, ElementDataFile="benign 4_mask.raw")
    convert(str(data), tmp_path / "out", labels=BENIGN)
    assert same(read_back(tmp_path / "out"), dict.fromkeys(names, MASK > 0))
    records = {record.id: record for record in read_csv(tmp_path / "out" / "manifest.csv")[0]}
    assert np.array_equal(read_gray(records["benign 3"].image), GRAY)
    assert records["benign 3"].spacing == (0.2, 0.1)
    Image.fromarray(color).save(tmp_path / "color.png")
    assert np.array_equal(read_gray(records["benign 4"].image), read_gray(tmp_path / "color.png"))


@pytest.mark.parametrize("named", ["../x.raw", "/etc/passwd", "sub/x.raw", "LIST", "a%03d.raw 1 2 1", ""])
def test_no_data_of_another_folder_is_read(named: str, tmp_path: Path) -> None:
    path = save(tmp_path / "in" / "a.mhd", GRAY, ElementDataFile="a.raw")
    for place in (tmp_path, tmp_path / "in" / "sub"):
        place.mkdir(exist_ok=True)
        (place / "x.raw").write_bytes(GRAY.tobytes())
    path.write_text(path.read_text().replace("a.raw", named))
    with pytest.raises(InputError, match="header whose data is not a file beside it"):
        read_metaimage(path)


Change = Callable[[bytes], bytes]


def swap(old: bytes, new: bytes) -> Change:
    return lambda content: content.replace(old, new)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content[:-1], "damaged or truncated"),
        (lambda content: content[:120], "damaged or truncated"),
        (lambda _: b"", "damaged or truncated"),
        (swap(b"DimSize = 50 36 1", b"DimSize = 50 36 2"), "damaged or truncated"),
        (swap(b"DimSize = 50 36 1", b"DimSize = 50 36"), "damaged or truncated"),
        (swap(b"DimSize = 50 36 1", b"DimSize = 99999 99999 9"), "size of 99999 x 99999 x 9"),
        (swap(b"DimSize = 50 36 1", b"DimSize = -50 -36 1"), "damaged or truncated"),
        (swap(b"DimSize = 50 36 1", b"DimSize = 50 0 1"), "size of 50 x 0 x 1"),
        (swap(b"NDims = 3", b"NDims = 0"), "damaged or truncated"),
        (swap(b"MET_UCHAR", b"MET_ODD"), "damaged or truncated"),
        (swap(b"BinaryData = True", b"BinaryData = False"), "whose values are text"),
        (swap(b"ObjectType = Image", b"ObjectType = Tube"), "of the type Tube, and no image"),
        (swap(b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 1"), "damaged or truncated"),
        (swap(b"0.1 0.2 1", b"0.1 x 1"), "damaged or truncated"),
        (swap(b"CompressedData = False", b"CompressedData = True"), "damaged or truncated"),
        (swap(b"ElementType", b"ElementNumberOfChannels = 2\nElementType"), "damaged or truncated"),
        (swap(b"ElementDataFile", b"\xff\xfe"), "damaged or truncated"),
    ],
)
def test_damaged_files_are_one_line(change: Change, problem: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.mha", GRAY)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=problem):
        read_volume(path)


def test_packed_values_are_unpacked_to_their_size_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mha", GRAY, CompressedData=True)
    head = path.read_bytes().partition(b"LOCAL\n")[0] + b"LOCAL\n"
    path.write_bytes(head + zlib.compress(GRAY.tobytes() + bytes(10**8)))
    assert np.array_equal(read_rows(path), GRAY)
    path.write_bytes(head + gzip.compress(GRAY.tobytes()))  # MetaIO unpacks either
    assert np.array_equal(read_rows(path), GRAY)


def test_several_images_in_one_file_are_a_row(tmp_path: Path) -> None:
    data = tmp_path / "in"
    write_images(data, {f"benign {k}": MASK > 0 for k in range(1, 4)})
    save(data / "benign 1_mask.mha", MASK)
    save(data / "benign 2_mask.mha", np.stack([MASK, MASK], -1))
    save(data / "benign 3_mask.mha", np.concatenate([MASK, MASK]), DimSize="50 36 2")
    convert(str(data), tmp_path / "out", labels=BENIGN)
    assert {name: text.partition(":")[0] for name, text in problems_of(tmp_path / "out").items()} == {
        "benign 2.png": "2 images in one file",
        "benign 3.png": "volume of 2 slices",
    }


def test_any_changed_byte_of_a_header_gives_a_volume_or_one_line(tmp_path: Path) -> None:
    path, rng = save(tmp_path / "a.mha", MASK, CompressedData=True), np.random.default_rng(0)
    content = path.read_bytes()
    for _ in range(300):
        changed = bytearray(content)
        changed[rng.integers(0, content.index(b"LOCAL") + 8)] = rng.integers(0, 256)
        path.write_bytes(changed)
        with contextlib.suppress(InputError):
            assert to_slice(read_volume(path), "header").layers
