"""DICOM structured reports (TID 1500): what is measured of predicted masks, and the class probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from busi.core import BENIGN, CLASSES, MALIGNANT, NORMAL
from busi.data import Spacing
from busi.formats.dicom_made import RESEARCH, Maker, as_label, make_basis, take_over
from busi.models import find_parts

SERIES_NUMBER = 901
SCHEME = "99BUSI"
"""Of codes that DICOM lacks."""
PROBABILITIES = {
    CLASSES[NORMAL]: Code("prob_normal", SCHEME, "Probability of normal"),
    CLASSES[BENIGN]: Code("prob_benign", SCHEME, "Probability of benign"),
    CLASSES[MALIGNANT]: codes.DCM.ProbabilityOfCancer,
}
FINDINGS = {
    CLASSES[NORMAL]: codes.SCT.Normal,
    CLASSES[BENIGN]: codes.SCT.Benign,
    CLASSES[MALIGNANT]: codes.SCT.Malignant,
}
PIXELS = Code("{pixels}", "UCUM", "pixels")


class Finding(NamedTuple):
    """What is reported of one frame.

    Attributes:
        number: Of the frame in the source, from 1; None if that holds one.
        area: Of the mask, in pixels.
        diameter: Of the mask, in mm, or in pixels without a spacing; see `longest_diameter`.
        spacing: Of the pixels, where it is known.
        pred: The predicted class; None from a segmentation model.
        probs: Probability of each class; empty without `pred`.
    """

    number: int | None
    area: int
    diameter: float
    spacing: Spacing | None
    pred: str | None
    probs: Mapping[str, float]


def longest_diameter(mask: Bool[np.ndarray, "h w"], spacing: Spacing | None) -> float:
    """The largest distance of two points of the largest connected part, between the corners of its pixels.

    Args:
        mask: Of one image.
        spacing: Of its pixels, in mm; None gives pixels.

    Returns:
        In mm or in pixels; 0 for an empty mask.
    """
    parts, count = find_parts(mask)
    if not count:
        return 0.0
    largest = 1 + int(np.bincount(parts.ravel(), minlength=count + 1)[1:].argmax())
    rows, columns = np.nonzero(parts == largest)
    corners = np.concatenate([np.stack([columns + x, rows + y], 1) for x in (0, 1) for y in (0, 1)])
    scale = (1.0, 1.0) if spacing is None else (spacing.columns, spacing.rows)
    hull = cv2.convexHull(corners.astype(np.int32))[:, 0] * np.array(scale)
    return float(max(np.hypot(*(hull - point).T).max() for point in hull))


def make_report(source: Dataset, segmentation: Dataset, findings: Sequence[Finding], maker: Maker) -> Any:
    """A structured report that refers to the frames of a segmentation and of its source.

    Args:
        source: Of `busi.data.open_header`.
        segmentation: Of `busi.formats.make_segmentation`, for the same frames.
        findings: Of each frame of the segmentation, in their order.
        maker: Who predicted them.

    Returns:
        A file of highdicom, to be saved.

    Raises:
        InputError: If the file does not say what it takes to refer to it.
    """
    import highdicom as hd
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    basis = make_basis(source)
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID(),
        name="busi",
        manufacturer_name="busi",
        model_name=as_label(maker.model),
        serial_number=as_label(maker.fingerprint),
    )
    observer = hd.sr.ObserverContext(codes.DCM.Device, device)
    groups = [
        _make_group(source, segmentation, order, finding, maker) for order, finding in enumerate(findings, 1)
    ]
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.UltrasonographyOfBreast,
        imaging_measurements=groups,
    )
    refers_to = Dataset()
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        setattr(refers_to, name, segmentation[name].value)
    made = hd.sr.ComprehensiveSR(
        evidence=[basis, refers_to],
        content=report,
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        is_complete=True,
        series_description=as_label(f"Measurements by busi, {RESEARCH}"),
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name="busi")],
        **maker.equipment(),
    )
    take_over(made, source)
    for series in made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence:
        for item in series.ReferencedSOPSequence:
            if item.ReferencedSOPInstanceUID == source.SOPInstanceUID:
                item.ReferencedSOPClassUID = source.SOPClassUID
    return made


def _make_group(source: Dataset, segmentation: Dataset, order: int, finding: Finding, maker: Maker) -> Any:
    """What is reported of a frame: of its mask, or of the whole image where no lesion was found."""
    import highdicom as hd

    numbers = None if finding.number is None else [finding.number]
    algorithm = hd.sr.AlgorithmIdentification(
        name=as_label(maker.model),
        version=as_label(f"{maker.software}, {maker.fingerprint}"),
        parameters=list(maker.parameters),
    )
    measured = {
        PROBABILITIES[name]: (round(100 * share, 4), codes.UCUM.Percent)
        for name, share in finding.probs.items()
    }
    common = {
        "algorithm_id": algorithm,
        "finding_type": codes.SCT.Lesion,
        "qualitative_evaluations": [
            hd.sr.QualitativeEvaluation(codes.DCM.Impression, FINDINGS[name])
            for name in ([] if finding.pred is None else [finding.pred])
        ],
    }
    label = "image" if finding.number is None else f"frame {finding.number}"
    tracking = hd.sr.TrackingIdentifier(hd.UID(), identifier=f"busi, {label}")
    image = (source.SOPClassUID, source.SOPInstanceUID, numbers)
    if not finding.area:
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            source_images=[hd.sr.SourceImageForMeasurementGroup(*image)],
            measurements=_measure(measured),
            **(common | {"finding_type": None}),
        )
    one = finding.spacing
    area = finding.area if one is None else finding.area * one.rows * one.columns
    measured |= {
        codes.SCT.Area: (area, PIXELS if one is None else codes.UCUM.SquareMillimeter),
        codes.SCT.LongAxis: (finding.diameter, PIXELS if one is None else codes.UCUM.Millimeter),
    }
    segment = hd.sr.ReferencedSegmentationFrame(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        frame_number=order,
        segment_number=1,
        source_image=hd.sr.SourceImageForSegmentation(*image),
    )
    del segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber  # DICOM takes the frame or the segment
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_segment=segment,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Breast)],
        measurements=_measure(measured),
        **common,
    )


def _measure(measured: Mapping[Code, tuple[float, Code]]) -> list[Any]:
    import highdicom as hd

    return [hd.sr.Measurement(name, value, unit) for name, (value, unit) in measured.items()]
