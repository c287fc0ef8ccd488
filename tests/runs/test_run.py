import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from busi.core.locks import hold
from busi.core.types import InputError
from busi.runs.finding import find_runs
from busi.runs.fingerprints import NOT_SETTINGS, fits_settings, flatten, settings_fingerprint
from busi.runs.run import continue_run, open_run, start_run
from busi.runs.variants import open_runs
from busi.submissions.own_runs import holds_runs
from tests.guides.test_leaks import cohort

RUN = ("run_dir=here",)
FACTS = {"epoch": 0, "monitor": "val/dice_net", "monitored": 0.5, "tested": True, "seconds": 1.0}


def test_run_is_finished_only_when_its_last_file_says_so(
    tmp_path: Path, compose: Callable[..., DictConfig]
) -> None:
    cfg, folder = compose(*RUN), tmp_path / "run"
    with hold(folder):
        run = start_run(folder, cfg, cohort(0), {})
    assert not open_run(run.folder).finished
    assert find_runs(tmp_path, "seg") == []
    run.finish({"test/dice": 0.5, "test/hd95": None}, **FACTS)
    (found,) = find_runs(tmp_path, "seg")
    assert found.finished
    assert find_runs(tmp_path, "cls") == []
    assert json.loads((run.folder / "metrics.json").read_text()) == {"test/dice": 0.5, "test/hd95": None}


def test_runs_that_links_collect_are_found_each_once(
    tmp_path: Path, compose: Callable[..., DictConfig]
) -> None:
    """Also by a link to a folder of them, and past a link that leads back."""
    for place in ("a/one", "b/two", "kept/own"):
        start_run(tmp_path / place, compose(*RUN), cohort(0), {})
    for name, target in (("two", "b/two"), ("two again", "b/two"), ("all of a", "a"), ("back", "kept")):
        (tmp_path / "kept" / name).symlink_to(tmp_path / target)
    found = [str(run.folder.relative_to(tmp_path / "kept")) for run in open_runs(tmp_path / "kept")]
    assert found == ["all of a/one", "own", "two"]
    assert holds_runs(tmp_path / "kept")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "two").symlink_to(tmp_path / "b" / "two")
    assert holds_runs(tmp_path / "linked")
    open_run(tmp_path / "b" / "two").finish({}, **FACTS)
    assert [run.folder.name for run in find_runs(tmp_path / "linked", "seg")] == ["two"]


def test_second_run_does_not_take_a_folder(tmp_path: Path, compose: Callable[..., DictConfig]) -> None:
    cfg = compose(*RUN)
    start_run(tmp_path, cfg, cohort(0), {})
    before = (tmp_path / "provenance.json").read_bytes()
    with pytest.raises(InputError, match="holds a run already"):
        start_run(tmp_path, cfg, cohort(1), {})
    assert (tmp_path / "provenance.json").read_bytes() == before


def test_run_that_was_killed_while_it_claimed_its_folder_can_be_started_again(
    tmp_path: Path, compose: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose(*RUN)
    for name in ("write_text", "write_table", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(f"busi.runs.run.{name}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                start_run(tmp_path, cfg, cohort(0), {})
        assert not (tmp_path / "provenance.json").exists()
    assert start_run(tmp_path, cfg, cohort(0), {}).config.seed == cfg.seed


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_half_written_provenance_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text('{"stage": "seg", "fini')
    with pytest.raises(InputError, match=r"not a run folder: .*\. Give the folder of a run"):
        open_run(tmp_path)
    (tmp_path / "outputs" / "seg").mkdir(parents=True)
    shutil.copy(tmp_path / "provenance.json", tmp_path / "outputs" / "seg")
    with pytest.raises(InputError, match=r"Runs lie below it: give one, e\.g\. .*outputs/seg$"):
        open_run(tmp_path / "outputs")
    assert find_runs(tmp_path, "seg") == []


def test_newest_run_comes_first(tmp_path: Path, compose: Callable[..., DictConfig]) -> None:
    for name, finished in (("a", "2026-01-02"), ("b", "2026-01-03"), ("c", "2026-01-01")):
        run = start_run(tmp_path / name, compose(*RUN), cohort(0), {}).finish({}, **FACTS)
        provenance = json.dumps({**run.provenance, "finished": finished})
        (run.folder / "provenance.json").write_text(provenance)
    assert [run.folder.name for run in find_runs(tmp_path, "seg")] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("stage", "other"), ("fold", -1), ("fold", "0"), ("debug", 1), ("upstream", []), ("files", None)],
)
def test_provenance_of_somebody_else_is_checked(
    tmp_path: Path, compose: Callable[..., DictConfig], name: str, value: object
) -> None:
    run = start_run(tmp_path / "run", compose(*RUN), cohort(0), {}).finish({}, **FACTS)
    (run.folder / "provenance.json").write_text(json.dumps({**run.provenance, name: value}))
    with pytest.raises(InputError, match=rf"provenance.json is damaged or of another version \({name}"):
        open_run(run.folder)
    assert find_runs(tmp_path, "seg") == []


def test_the_place_of_a_list_of_exclusions_is_no_setting(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """Runs that an older busi wrote have it in their fingerprint, as it was typed, and are theirs still."""
    plain = compose(*RUN)
    here, there = (compose(*RUN, f"data.exclude={path}") for path in ("a.csv", "/b/a.csv"))
    assert settings_fingerprint(here) == settings_fingerprint(there)
    run = start_run(tmp_path / "run", here, cohort(0), {})
    values = json.dumps(flatten(here, (*NOT_SETTINGS, "start")), sort_keys=True)
    old = hashlib.sha256(values.encode()).hexdigest()[:16]
    assert old != run.provenance["settings"]
    (run.folder / "provenance.json").write_text(json.dumps({**run.provenance, "settings": old}))
    assert open_run(run.folder).config == here
    assert continue_run(run.folder, there, cohort(0)).provenance["resumed"]
    with pytest.raises(InputError, match="settings changed since it was started"):
        continue_run(run.folder, compose(*RUN, "data.exclude=a.csv", "seed=1"), cohort(0))
    assert not fits_settings(old, plain)


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("output_dir=elsewhere", True),
        ("data.root=elsewhere", True),
        ("data.num_workers=3", True),
        ("callbacks.progress.leave=true", True),
        ("seed=1", False),
        ("data.fold=1", False),
        ("optimizer.lr=0.1", False),
        ("trainer.max_epochs=7", False),
        ("augmentation=none", False),
        ("model.network.decoder_channels=[8,8,8,8,8]", False),
    ],
)
def test_settings_are_what_shapes_a_result(
    compose: Callable[..., DictConfig], override: str, same: bool
) -> None:
    add = f"+{override}" if "progress.leave" in override else override
    plain, changed = compose(*RUN), compose(*RUN, add)
    assert (settings_fingerprint(plain) == settings_fingerprint(changed)) is same
