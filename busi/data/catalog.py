"""Data sets by name: what ``data=NAME`` means, also where no training is composed, and folders recognized."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from busi.core import CLASSES, InputError, construct, expand, is_file, is_folder, to_plain
from busi.data.composing import compose_data, list_data
from busi.data.manifest_values import name_source
from busi.data.records import Reading, WrongLayout

NO_LAYOUT = ("csv", "pooled", "synthetic")
"""Options of ``data`` by which no folder is recognized."""

MANIFEST = "busi.data.read_csv"
"""The reader of manifests."""
FOLDER = "busi.data.read_busi"
"""The reader of class folders."""


class DataSet(NamedTuple):
    """Where a data set is, and how it is read.

    Attributes:
        name: Short, e.g. ``busbra``.
        root: What the reader is given.
        read: Config of the reader.
    """

    name: str
    root: Path
    read: dict[str, Any]

    @property
    def takes_labels(self) -> bool:
        """Whether it is a manifest or class folders, whose words for the classes can be mapped."""
        return self.read["_target_"] in (MANIFEST, FOLDER)

    def map_labels(self, labels: Mapping[str, str]) -> "DataSet":
        """The same with other words for the classes.

        Raises:
            InputError: If there are some, and it is neither a manifest nor a folder of class folders.
        """
        if not labels:
            return self
        if not self.takes_labels:
            raise InputError(
                "labels are for the words of a CSV manifest and the names of class folders, and "
                f"{self.root} is neither: leave them out"
            )
        return self._replace(read={**self.read, "labels": {**self.read.get("labels", {}), **labels}})

    def open(self) -> Reading:
        """Read it; raises what its reader does."""
        return read_with(self.read, self.root)


def read_with(read: Mapping[str, Any], root: Path) -> Reading:
    """Call the reader that a config describes."""
    reading: Reading = construct({**read, "_partial_": True}, "data")(root)
    return reading


def find_data(text: str, labels: Mapping[str, str] = MappingProxyType({}), optional: bool = False) -> DataSet:
    """Find the data set that a name or a path means.

    Args:
        text: An option of ``data``, e.g. ``busbra``, whose root stands in its config or environment variable;
            a CSV manifest; or a folder in the layout of one of the readers.
        labels: Other words for the classes, in a manifest or as names of folders.
        optional: Leave `labels` out where the data takes none.

    Raises:
        InputError: If it is none of these, the root of an option is not given, or it takes no labels.
    """
    found = _find(text, labels)
    return found.map_labels({} if optional and not found.takes_labels else labels)


def _find(text: str, labels: Mapping[str, str]) -> DataSet:
    if text in list_data():
        config = compose_data(text)
        if config.get("sources"):
            raise InputError(f"data={text} is made of several data sets: name one of them")
        if not config.get("root"):
            raise InputError(f"data={text} has no root: give the path of its data instead of its name")
        return DataSet(text, expand(str(config["root"])), config["read"])
    path = expand(text)
    if is_file(path):
        return DataSet(name_source(path.stem), path, {"_target_": MANIFEST, "_partial_": True})
    if not is_folder(path):
        raise InputError(
            f"no data at {path}, nor data of that name: give a folder, a CSV manifest, or one of "
            f"{', '.join(name for name in list_data() if name not in NO_LAYOUT)}"
        )
    return recognize_layout(path, labels)


def recognize_layout(folder: Path, labels: Mapping[str, str]) -> DataSet:
    """Find the reader whose layout a folder has.

    Any hospital may have the layout of BUSI, so such a folder has its own name, unless that says BUSI.

    Raises:
        InputError: If there is none; it says what each looked for.
    """
    looked_for = []
    for name in list_data():
        if name in NO_LAYOUT:
            continue
        read = compose_data(name, alone=True)["read"]
        if labels and read["_target_"] == FOLDER:
            read = {**read, "labels": {**labels}}
        try:
            reader = construct({**read, "_partial_": True}, "data")
        except InputError:  # of a package that is not trusted
            continue
        try:
            reader(folder)
        except WrongLayout as error:
            looked_for.append(f"{name} looks for {error.looked_for}")
            continue
        except InputError:
            pass  # of this layout, but with faults: whoever opens it is told of them
        own = name_source(folder.resolve().name)
        return DataSet(own if name == "busi" and own and "busi" not in own.lower() else name, folder, read)
    raise InputError(
        f"{folder} is in no layout that is known: list its images in a CSV manifest (image,label,mask,"
        f"patient), or put them into folders called {', '.join(CLASSES)} (--labels maps other names: "
        f"gutartig=benign). "
        f"{'; '.join(looked_for)}"
    )


def name_sources(data: DictConfig) -> DictConfig:
    """Look up the data sets of a pool, so that the config of a run says where each is and how it is read.

    Args:
        data: The part ``data`` of a config. ``sources`` is a list of names or paths, or maps a name of the
            user's own to a name or path, or to ``root`` with ``read`` or ``labels``. ``train_only`` and
            ``hold_out`` are names or paths, or sources of a data set that has several.

    Returns:
        The same with ``sources`` as name -> ``root`` and ``read``, and names in the others; unchanged where
        there is one data set alone.

    Raises:
        InputError: If a data set cannot be found, or two have one name.
    """
    if data.download and (data.sources or data.train_only or data.hold_out):
        raise InputError("data.download=true gets BUSI alone: download it in a run of its own first")
    known: dict[str, DataSet] = {}
    if isinstance(data.sources, Mapping):
        known = {str(name): _describe(str(name), one) for name, one in data.sources.items()}
    else:
        for text in _texts(data.sources):
            one = find_data(text)
            if one.name in known:
                raise InputError(
                    f"data.sources has two data sets called {one.name}: rename a file or a folder, or name "
                    "them as data.sources={a: /path/1, b: /path/2}"
                )
            known[one.name] = one
    train_only = [_name(text, known, data) for text in _texts(data.train_only)]
    hold_out = None if data.hold_out is None else _name(str(data.hold_out), known, data)
    if not known:
        return data
    sources = {name: {"root": str(one.root), "read": one.read} for name, one in known.items()}
    changes = {"sources": None, "train_only": train_only, "hold_out": hold_out}
    return OmegaConf.merge(data, changes, {"sources": sources})  # type: ignore[return-value]


def _describe(name: str, one: object) -> DataSet:
    """The data set that a user calls by this name."""
    if not name or name_source(name) != name:
        raise InputError(f"data.sources: {name!r} is no name of letters, digits, '_', '.' and '-'")
    if isinstance(one, str):
        return find_data(one)._replace(name=name)
    plain = to_plain(one) if isinstance(one, DictConfig) else {}
    if not plain.get("root") or plain.keys() - {"root", "read", "labels"}:
        raise InputError(
            f"data.sources: give the name or path of {name}, or its root with read, or with labels "
            f"({name}: {{root: manifest.csv, labels: {{cancer: malignant}}}})"
        )
    read, labels, root = plain.get("read"), plain.get("labels") or {}, str(plain["root"])
    if read and not (isinstance(read, dict) and "_target_" in read):
        raise InputError(f"data.sources: read of {name} needs a _target_, e.g. busi.data.read_csv")
    if not isinstance(labels, dict):
        raise InputError(f"data.sources: labels of {name} is no mapping: write labels: {{cancer: malignant}}")
    if not read:
        return find_data(root, labels)._replace(name=name)
    return DataSet(name, expand(root), read).map_labels(labels)


def _name(text: str, known: dict[str, DataSet], data: DictConfig) -> str:
    """The name of a data set, which joins those that are known, or of one of the sources of these."""
    if not known:  # of a single data set, to which others are added
        if data.root is None:
            raise InputError(f"data={data.name} has no root: say where the data is, e.g. data.root=/path")
        known[data.name] = DataSet(data.name, expand(str(data.root)), to_plain(data.read))
    if text in known or any(text in list_sources(one) for one in known.values()):
        return text
    try:
        found = find_data(text)
    except InputError as error:
        raise InputError(f"{text} is none of the sources {', '.join(known)}, and {error}") from error
    there = known.setdefault(found.name, found)
    if there.root.resolve() != found.root.resolve():
        raise InputError(f"{there.root} and {found.root} are both called {found.name}: rename one of them")
    return found.name


def list_sources(one: DataSet) -> set[str]:
    """The sources of a data set that has several of its own: that of a single one is the data set's name."""
    found = {record.source for record in one.open()[0]}
    return found if len(found) > 1 else set()


def _texts(value: object) -> list[str]:
    """One text or several, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]  # type: ignore[attr-defined]
