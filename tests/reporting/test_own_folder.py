"""No command overwrites what it did not write."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from busi.core.types import InputError
from busi.evaluation.evaluation import evaluate
from busi.evaluation.saving import check_own, claim
from busi.reporting.audit_page import write_audit
from busi.reporting.report import report_runs
from busi.runs.claiming import check_unclaimed
from busi.runs.run import start_run
from tests.guides.test_leaks import cohort
from tests.processes import call

NAMES = ("manifest.csv", "split.csv", "predictions.csv", "index.html", "groups.csv")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with files of the user's own."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text("mine")
    return folder


def test_files_of_the_user_are_never_overwritten(own: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds predictions\.csv, which no evaluation left there"):
        evaluate(None, str(own / "manifest.csv"), own, cache_dir=tmp_path)
    with pytest.raises(InputError, match=r"holds groups\.csv, which no audit left there"):
        write_audit(str(own / "manifest.csv"), own, tmp_path)
    with pytest.raises(InputError, match=r"holds index\.html, which no report on runs left there"):
        report_runs([tmp_path], own)
    with pytest.raises(InputError, match=r"holds predictions\.csv, which no run left there"):
        check_unclaimed(own)
    done = call("busi.evaluate", "--data", "manifest.csv", "--output", ".", cwd=own)
    assert done.returncode == 1
    assert "error: . holds predictions.csv, which no evaluation left there" in done.stderr
    assert {path.name: path.read_text() for path in own.iterdir()} == dict.fromkeys(NAMES, "mine")


@pytest.mark.parametrize("kind", ["", "evaluated", "submitted"])
def test_a_report_is_written_anew_by_its_own_command_alone(kind: str, tmp_path: Path) -> None:
    run = {"stage": "seg"} | ({kind: "somewhere"} if kind else {})
    (tmp_path / "index.html").touch()
    (tmp_path / "predictions.csv").touch()
    (tmp_path / "report.json").write_text(json.dumps({"runs": [run]}))
    if kind == "evaluated":
        check_own(tmp_path)
    else:
        with pytest.raises(InputError, match="which no evaluation left there"):
            check_own(tmp_path)
    # A report on runs comes to these runs, which are not there.
    words = "which no report on runs left there" if kind else "is no run folder"
    with pytest.raises(InputError, match=words):
        report_runs([tmp_path], tmp_path)
    with pytest.raises(InputError, match="which no audit left there"):
        write_audit("busi", tmp_path, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"runs": 1}', '{"runs": [1]}', '{"title": "mine"}', "[" * 5000])
def test_a_file_of_the_same_name_is_no_report(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(InputError, match=r"holds report\.json"):
        check_own(tmp_path)
    with pytest.raises(InputError, match=r"holds report\.json"):
        report_runs([tmp_path], tmp_path)
    with pytest.raises(InputError, match=r"holds audit\.json"):
        write_audit("busi", tmp_path, tmp_path)


def test_an_evaluation_that_was_stopped_may_be_repeated(tmp_path: Path) -> None:
    claim(tmp_path, Path("model"))
    (tmp_path / "predictions.csv").touch()
    check_own(tmp_path)
    before = (tmp_path / "report.json").read_text()
    claim(tmp_path, Path("other"))
    assert (tmp_path / "report.json").read_text() == before


def test_a_run_that_was_killed_while_it_claimed_its_folder_left_it(
    tmp_path: Path, compose: Callable[..., DictConfig]
) -> None:
    start_run(tmp_path, compose("run_dir=here"), cohort(0), {})
    (tmp_path / "provenance.json").unlink()
    check_unclaimed(tmp_path)
    (tmp_path / "config.yaml").write_text("mine: 1")
    with pytest.raises(InputError, match=r"holds split\.csv, which no run left there"):
        check_unclaimed(tmp_path)
