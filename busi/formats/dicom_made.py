"""What the DICOM files that busi makes have in common: who made them, and of which patient and study."""

import logging
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, UltrasoundImageStorage

from busi.core import InputError

RESEARCH = "research use only, not for diagnosis"
IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
"""What a file must say so that another one can refer to it."""
TAKEN_OVER = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""What highdicom copies one by one; `take_over` copies them with all else of patient and study."""
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
"""Compressions that change pixels, whether the header says so or not."""
LONGEST = 64
"""Characters of a long string (LO) in DICOM."""

logging.getLogger("highdicom").setLevel(logging.ERROR)  # it tells of every part that it copies


@dataclass(frozen=True)
class Maker:
    """Who makes a file.

    Attributes:
        model: Its name, or those of several, as far as they fit.
        fingerprint: Of the checkpoint, or of those of several models.
        version: Of busi.
        settings: How it predicted, in words.
    """

    model: str
    fingerprint: str
    version: str
    settings: tuple[str, ...] = ()

    @property
    def software(self) -> str:
        """Name and version of busi."""
        return f"busi {self.version}"

    @property
    def parameters(self) -> tuple[str, ...]:
        """What is said of how it predicted."""
        return (RESEARCH, *map(as_ascii, self.settings))

    def equipment(self) -> dict[str, Any]:
        """The arguments of highdicom that say which program made a file."""
        return {
            "manufacturer": "busi",
            "manufacturer_model_name": as_label(self.model),
            "software_versions": as_label(self.software),
            "device_serial_number": as_label(self.fingerprint),
        }


def need_highdicom() -> None:
    """Check that highdicom is installed.

    Raises:
        InputError: If it is not.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise InputError("writing DICOM files needs highdicom: pip install '.[dicom]'") from error


def as_ascii(text: str) -> str:
    """Text as DICOM takes it in any character set: ASCII, without backslashes."""
    plain = text.encode("ascii", "replace").decode().replace("\\", "/")
    return "".join(sign if sign.isprintable() else "?" for sign in plain).strip() or "?"


def as_label(text: str) -> str:
    """The same for a short label: cut off."""
    plain = as_ascii(text)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 3]}..."


def check_source(source: Dataset) -> None:
    """Check that a file says what another one needs to refer to it.

    Its class and its UID may stand in its beginning alone.

    Raises:
        InputError: If it does not.
    """
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if not source.get(name) and (value := source.file_meta.get(f"MediaStorage{name}")):
            setattr(source, name, value)
    missing = [name for name in IDENTITY if not source.get(name)]
    if missing:
        raise InputError(f"the file has no {', '.join(missing)}: nothing can refer to it")


def make_basis(source: Dataset) -> Dataset:
    """A header of one frame with which highdicom can begin, whatever the file says of patient and study.

    highdicom checks these values, and refuses what scanners write. So they are empty here, and `take_over`
    copies them. It takes no file of several frames without places, and no class that it does not know. So
    this is of the class of ultrasound images, and whoever refers to it corrects that.

    Args:
        source: Of `busi.data.open_header`.

    Raises:
        InputError: See `check_source`.
    """
    check_source(source)
    basis = Dataset()
    for name in (*IDENTITY, "Rows", "Columns"):
        setattr(basis, name, source[name].value)
    basis.SOPClassUID = UltrasoundImageStorage
    for name in TAKEN_OVER:
        setattr(basis, name, None)
    basis.Modality = source.get("Modality") or "US"
    basis.FrameOfReferenceUID = find_reference(source)
    basis.LossyImageCompression = "01" if is_lossy(source) else "00"
    if ratios := is_lossy(source) and read_numbers(source, "LossyImageCompressionRatio"):
        basis.LossyImageCompressionRatio = [*ratios]
    if method := is_lossy(source) and source.get("LossyImageCompressionMethod"):
        basis.LossyImageCompressionMethod = method
    return basis


def read_numbers(item: Dataset, name: str) -> tuple[float, ...]:
    """The values of an element; none if it is missing, or holds no numbers."""
    try:
        element = item[name]
        return tuple(map(float, [element.value] if element.VM == 1 else element.value))
    except (KeyError, TypeError, ValueError):
        return ()


def is_lossy(source: Dataset) -> bool:
    """Whether an image was once compressed with loss."""
    return source.get("LossyImageCompression") == "01" or source.file_meta.TransferSyntaxUID in LOSSY


def find_reference(source: Dataset) -> str:
    """A frame of reference of the pixels of an image, which is always the same and nobody else's."""
    return pydicom.uid.generate_uid(entropy_srcs=[str(source.SOPInstanceUID), "pixels"])


def take_over(made: Any, source: Dataset) -> None:
    """Copy what a file says of patient and study, so that an archive puts the new one beside it.

    Args:
        made: A new file of highdicom.
        source: Of `busi.data.open_header`.
    """
    about = Dataset()
    about.update(source)
    about["SOPClassUID"] = made["SOPClassUID"]  # highdicom knows which parts this class has, and few others
    if "SpecificCharacterSet" in source:
        made.SpecificCharacterSet = source.SpecificCharacterSet
    made.copy_patient_and_study_information(about)
