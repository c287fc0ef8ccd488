"""From one format to another: everything is read, what is wrong is listed, and the rest is written."""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from busi.core import (
    CLASSES,
    EMPTY_WORDS,
    InputError,
    check_new,
    expand,
    list_some,
    printable,
    whole_folder,
    write_table,
    writing_to,
)
from busi.data import Problem, file_name, list_problems, read_csv
from busi.formats.annotations import (
    MAY_BE_MISSING,
    NOTHING_SAID,
    Annotation,
    Case,
    Found,
    Unplaced,
    resolve,
)
from busi.formats.archives import find_top, is_archive, speaking_of, unpack_archive
from busi.formats.conversion import Conversion
from busi.formats.images import stem_of
from busi.formats.known import FORMATS, ORIENTATIONS, reader, recognize, writer
from busi.formats.labels import IGNORE, Meanings
from busi.formats.manifest import FILE, describe_case, keep_folds
from busi.formats.patients import name_patients
from busi.formats.placing import name_of
from busi.formats.sheet import add_sheet

log = logging.getLogger(__name__)

CASES, PROBLEMS = "cases.csv", "problems.csv"


def convert(
    text: str,
    output: Path,
    *,
    to: str = "manifest",
    source_format: str | None = None,
    labels: Mapping[str, str] | None = None,
    empty: str | None = None,
    images: Path | None = None,
    sheet: Path | None = None,
    columns: Mapping[str, str] | None = None,
    orientation: str | None = None,
    copy: bool = False,
) -> list[Problem]:
    """Convert annotations; see `busi.formats.known.FORMATS`.

    Args:
        text: A file or a folder, or the name of a data set.
        output: The new folder; appears once it is whole.
        to: The format to write.
        source_format: That of what is read; None recognizes it.
        labels: What words mean, see `busi.formats.labels.Meanings`.
        empty: The class of images about which nothing is said.
        images: The folder of the images, if they lie elsewhere.
        sheet: Table with what the annotations do not say.
        columns: Column of a manifest -> what the sheet calls it.
        orientation: See `busi.formats.orientation`.
        copy: Copy images into the folder of a manifest, too.

    Returns:
        What could not be used, as ``problems.csv`` lists it.

    Raises:
        InputError: If an argument is wrong, a word has no meaning, or nothing can be used.
    """
    check_new(output)
    if empty is not None and empty not in CLASSES:
        raise InputError(f"--empty {empty}: give one of {', '.join(CLASSES)}")
    if orientation not in (None, *ORIENTATIONS):
        raise InputError(f"--orientation {orientation}: give one of {', '.join(ORIENTATIONS)}")
    meanings, path, given, unpacked = Meanings(labels or {}), expand(text), text, None
    with ExitStack() as stack:
        if is_archive(path):
            with writing_to(output.parent):
                temporary = tempfile.TemporaryDirectory(prefix=".", dir=output.absolute().parent)
                unpacked = Path(stack.enter_context(temporary))
                unpack_archive(path, unpacked)
            stack.enter_context(speaking_of(path, unpacked))
            archive, path = path, find_top(unpacked)
            text = str(path)
        name = source_format or recognize(path, bool(columns) and sheet is None)
        log.info("Reading %s as %s", given, FORMATS[name].title)
        conversion = Conversion(path, images and expand(images), columns or {}, orientation, text)
        found = refuse_repeated(list(reader(name)(conversion)))
        if sheet is not None:
            found = add_sheet(
                found, expand(sheet), columns or {}, conversion.image_folder or conversion.folder
            )
        found = name_patients(found, strict=name != "manifest")
        annotations = [one for one in found if isinstance(one, Annotation)]
        problems = [one for one in found if isinstance(one, Problem)]
        if unpacked:  # which is gone when somebody reads the list
            problems = [replace(x, file=x.file.replace(str(unpacked), str(archive))) for x in problems]
        meanings.check(word for one in annotations for word in list_words(one))
        cases = resolve_all(annotations, problems, meanings, find_empty(empty, problems))
        cases = (replace(one, in_place=not copy and stays(one.image, unpacked)) for one in cases)
        with writing_to(output), whole_folder(output) as part:
            return write_all(cases, problems, part, output, to)


def write_all(
    cases: Iterator[Case], problems: list[Problem], part: Path, output: Path, to: str
) -> list[Problem]:
    """Write what can be used, and the list of what cannot.

    Raises:
        InputError: If nothing can be used.
    """
    rows: list[Mapping[str, str]] = []
    counts: Counter[str] = Counter()
    undrawn: list[str] = []

    def note(case: Case) -> Case:
        counts[CLASSES[case.label]] += 1
        undrawn.extend([case.id] if case.undrawn else [])
        rows.append({k: v for k, v in describe_case(case, name_of(case)).items() if k != "mask"})
        return case

    writer(to)((note(case) for case in cases), part)
    if not rows:
        why = list_problems(problems) or "there is no image"
        raise InputError(f"nothing can be converted: {why}")
    if to == "manifest":
        problems += [
            replace(one, file=one.file.replace(str(part), str(output))) for one in read_csv(part / FILE)[1]
        ]
    else:
        write_table(part / CASES, keep_folds(rows))
    if problems:
        write_table(
            part / PROBLEMS, [{"id": one.id, "problem": one.kind, "file": one.file} for one in problems]
        )
        log.warning("Not used, see %s: %s", output / PROBLEMS, list_problems(problems))
    if undrawn and not FORMATS[to].holds_classes:
        log.warning(
            "%d images of a lesion that nobody drew (%s) look like normal ones: their class stands in %s "
            "alone, which --sheet reads",
            *(len(undrawn), list_some(undrawn), output / CASES),
        )
    listed = ", ".join(f"{counts[name]} {name}" for name in CLASSES if counts[name])
    log.info("Wrote %d images (%s) to %s", len(rows), listed, output / FILE if to == "manifest" else output)
    return problems


def resolve_all(
    annotations: Sequence[Annotation],
    problems: list[Problem],
    meanings: Meanings,
    empty: int | str,
) -> Iterator[Case]:
    """The cases that annotations are, one at a time; what is wrong with others is added to the problems."""
    names = UniqueIds()
    left_out: Counter[str] = Counter()
    for one in track(annotations, "converting", transient=True):
        try:
            yield resolve(one, names.give(one.name), meanings, empty)
        except InputError as error:
            problems.append(Problem(one.name, getattr(error, "kind", str(error)), one.name))
            continue
        left_out.update(shape.word for shape in one.shapes if meanings[shape.word] == IGNORE)
    if left_out:
        log.info("Left out as --labels says: %s", ", ".join(f"{n} x {x}" for x, n in left_out.items()))


def find_empty(name: str | None, problems: Sequence[Problem]) -> int | str:
    """The class of images about which nothing is said, or why they have none.

    An annotation of which nobody knows the image may be about any of them.
    """
    if name is None:
        return NOTHING_SAID
    return MAY_BE_MISSING if any(isinstance(one, Unplaced) for one in problems) else CLASSES.index(name)


def stays(image: Path, unpacked: Path | None) -> bool:
    """Whether a manifest may name a file where it lies: for good, and under a name that a cell holds."""
    whole = str(image.absolute())
    passing = unpacked is not None and unpacked.resolve() in image.resolve().parents
    return not passing and printable(whole) == whole == whole.strip()


def refuse_repeated(found: Sequence[Found]) -> list[Found]:
    """The same with a problem for each image that is annotated several times, be it once in vain."""
    keys = [
        (one.image, None if one.pixels is None else one.name) if isinstance(one, Annotation) else None
        for one in found  # a clip has several
    ]
    counts = Counter(keys)
    failed = {one.id for one in found if isinstance(one, Problem)}
    return [
        Problem(one.name, "image that is annotated several times", one.name)
        if isinstance(one, Annotation) and (counts[key] > 1 or one.name in failed)
        else one
        for one, key in zip(found, keys, strict=True)
    ]


def list_words(annotation: Annotation) -> list[str]:
    """The words of an annotation, each once."""
    return [*dict.fromkeys((*annotation.tags, *(shape.word for shape in annotation.shapes)))]


class UniqueIds:
    """Ids of cases: names without suffix where that tells them apart."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def give(self, name: str) -> str:
        """The id of the next image."""
        whole = printable(name, "_").strip()
        stem = stem_of(whole)
        candidates = [f"{stem}_" if stem.lower() in EMPTY_WORDS else stem, whole]
        number = 1
        while (key := file_name(candidates[0]).lower()) in self._used:
            number += 1
            candidates = [*candidates[1:], f"{whole} ({number})"]
        self._used.add(key)
        return candidates[0]
