"""What is there, whatever its name is."""

from pathlib import Path

import pytest

from busi.core.there import is_file, is_folder, is_there
from busi.core.types import InputError
from busi.data.exclusions import read_exclusions
from busi.evaluation.saving import check_free
from busi.models.encoders import check_weights
from busi.models.weight_files import read_tensors
from busi.runs.start import find_checkpoint

LONG = "x" * 300
"""More than any file system takes."""


def test_what_is_there_has_a_name_that_a_file_can_have(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert is_file(tmp_path / "file")
    assert is_there(tmp_path / "file")
    assert is_folder(tmp_path)
    for name in ("gone", "link", LONG, f"{LONG}/x", "file/x", "a\0b"):
        assert not any(kind(tmp_path / name) for kind in (is_file, is_folder, is_there))


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    check_free(tmp_path / LONG)
    with pytest.raises(InputError, match="does not exist: give a CSV file"):
        read_exclusions(tmp_path / LONG, set())
    with pytest.raises(InputError, match="there is no file of this name"):
        check_weights(LONG)
    with pytest.raises(InputError, match="there is no such file"):
        read_tensors(tmp_path / LONG)
    with pytest.raises(InputError, match="does not exist: give a run folder"):
        find_checkpoint("start_from", LONG)
