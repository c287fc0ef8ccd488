"""Which images of DICOM files are of one patient, whom nobody can identify by the name that is given."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from busi.data import Problem, fold_case, is_dicom, read_header
from busi.formats.annotations import Annotation, Found


def name_patients(found: Sequence[Found], strict: bool) -> list[Found]:
    """Give all DICOM images of one PatientID one name: that of a sheet, or else p0001, p0002 and so on.

    Args:
        found: With the patients that a sheet names.
        strict: Whether a PatientID must have one name; else images that have one keep it.

    Returns:
        The same, with a problem for each image of a PatientID that has several names.
    """
    read = [one for one in found if isinstance(one, Annotation)]
    files = [path for path in dict.fromkeys(one.image for one in read) if is_dicom(path)]
    ids = {path: fold_case(read_header(path, ("PatientID",)).get("PatientID", "").strip()) for path in files}
    taken, names = set[str](), dict[str, dict[str, str]]()
    for image, patient in ((one.image, one.patient) for one in read):
        if patient:
            taken.add(fold_case(patient))
            names.setdefault(ids.get(image, ""), {}).setdefault(fold_case(patient), patient)
    free = (name for number in count(1) if (name := f"p{number:04d}") not in taken)
    result: list[Found] = []
    for one in found:
        key = ids.get(one.image) if isinstance(one, Annotation) else None
        if not key or not isinstance(one, Annotation):
            result.append(one)
        elif len(names.get(key, ())) > 1 and (strict or not one.patient):
            listed = ", ".join(list(names[key].values())[:3])
            kind = f"DICOM image of one PatientID with several names ({listed}): give it one in the sheet"
            result.append(Problem(one.name, kind, one.name))
        else:
            own = names.get(key) or names.setdefault(key, {"": next(free)})
            result.append(replace(one, patient=one.patient or next(iter(own.values()))))
    return result
