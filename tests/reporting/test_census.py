"""What is counted of patients, folds and scanners, in cases whose answer is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from busi.core.types import BENIGN, MALIGNANT, NORMAL, Record
from busi.reporting.census import check_published_folds, count_classes, count_patients, describe_spacing


def records(*patients: str | None, **each: list[Any]) -> list[Record]:
    """Benign images of these patients, with other values by position."""
    plain = [
        Record(str(k), Path(f"{k}.png"), (), BENIGN, patient=patient) for k, patient in enumerate(patients)
    ]
    return [
        replace(record, **{name: values[k] for name, values in each.items()})
        for k, record in enumerate(plain)
    ]


def test_near_duplicates_of_one_patient_or_of_unknown_ones_cross_nothing() -> None:
    found = count_patients(records("a", "a", "b", None, None), np.array([0, 0, 1, 1, 2]))
    assert found is not None
    assert found["crossing"] == []
    assert (found["patients"], found["images_without_patient"]) == (2, 2)
    assert found["images_a_patient"] == {"1": 1, "2": 1}


def test_near_duplicates_of_two_patients_cross_them() -> None:
    found = count_patients(records("a", "a", "b", "c", None), np.array([0, 1, 1, 2, 1]))
    assert found is not None
    assert found["crossing"] == [["1", "2", "4"]]


def test_one_name_in_two_sources_is_two_patients() -> None:
    two = records("a", "a", "a", source=["x", "y", "y"], label=[BENIGN, BENIGN, MALIGNANT])
    found = count_patients(two, np.zeros(3, np.int64))
    assert found is not None
    assert (found["patients"], found["several_classes"]) == (2, 1)
    assert found["patients_of_class"] == {"normal": 0, "benign": 2, "malignant": 1}
    assert found["crossing"] == [["0", "1", "2"]]


def test_a_patient_with_three_classes_is_one_with_several() -> None:
    found = count_patients(records("a", "a", "a", label=[NORMAL, BENIGN, MALIGNANT]), np.arange(3))
    assert found is not None
    assert (found["patients"], found["several_classes"]) == (1, 1)


def test_unknown_patients_are_none() -> None:
    assert count_patients(records(None, None), np.zeros(2, np.int64)) is None


def test_folds_are_crossed_by_near_duplicates_and_patients() -> None:
    folds: list[Any] = [{5: 0, 10: 0}, {5: 1, 10: 0}, {5: 1}, {5: 2}]
    given = records("a", "b", "b", "a", published_folds=folds)
    found = check_published_folds(given, np.array([0, 0, 1, 2]))
    assert found["5"] == {"images": [1, 2, 1], "without": 0, "patients": 1, "crossing": [["0", "1"]]}
    assert found["10"] == {"images": [2], "without": 2, "patients": 0, "crossing": []}
    assert check_published_folds(records("a"), np.zeros(1, np.int64)) == {}


def test_classes_by_scanner_add_up_with_what_is_unknown_at_the_end() -> None:
    given = records(None, None, None, scanner=["b", None, "a"], label=[BENIGN, MALIGNANT, MALIGNANT])
    found = count_classes(given, "scanner")
    assert list(found) == ["a", "b", "not known"]
    assert found["a"] == {"normal": 0, "benign": 0, "malignant": 1}
    assert sum(sum(row.values()) for row in found.values()) == 3
    assert count_classes(given, "birads") == {}


def test_spacing_is_the_range_of_both_directions() -> None:
    given = records(None, None, spacing=[(0.1, 0.3), None])
    assert describe_spacing(given) == pytest.approx({"images": 1, "smallest": 0.1, "largest": 0.3})
    assert describe_spacing(given[1:]) is None
