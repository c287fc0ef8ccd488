"""Searches: what is searched, what a trial reports, and what the real command leaves behind."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from busi.core.files import write_json
from busi.core.locks import hold
from busi.core.types import InputError
from busi.sweeps.jobs import read_job, record_pruned
from busi.sweeps.optuna_sweeper import OptunaSweeper
from busi.sweeps.search_space import check_search, split_overrides
from busi.sweeps.study import TRIAL, claim, open_storage, open_study, sqlite_url
from tests.conftest import SMALL

Train = Callable[..., subprocess.CompletedProcess[str]]
SEARCH = (
    *("-m", "search=optuna_seg", *SMALL),
    *("optimizer.lr=0.001,1e30,0.01", "scheduler=cosine", "augmentation=light"),
    *("~optimizer.weight_decay", "~loss.dice_weight", "~model.network.decoder_channels"),
    *("hydra.sweeper.sampler._target_=optuna.samplers.BruteForceSampler", "hydra.sweeper.num_trials=3"),
    *("~hydra.sweeper.sampler.multivariate", "~hydra.sweeper.sampler.constant_liar"),
)


def split(*overrides: str) -> tuple[dict[str, Any], list[str]]:
    return split_overrides(OverridesParser.create().parse_overrides(list(overrides)))


def test_grammar_of_sweeps_is_what_is_searched() -> None:
    space, fixed = split(
        "a.lr=tag(log,interval(1e-4,0.1))",
        "b=int(interval(2,5))",
        "c=x,y",
        "d=choice([8,4],[4,2])",
        "e=range(1,4)",
        "+f=3",
        "~g",
    )
    assert space == {
        "a.lr": FloatDistribution(1e-4, 0.1, log=True),
        "b": IntDistribution(2, 5),
        "c": CategoricalDistribution(["x", "y"]),
        "d": CategoricalDistribution(["[8,4]", "[4,2]"]),
        "e": CategoricalDistribution(["1", "2", "3"]),
    }
    assert fixed == ["+f=3", "~g"]


def test_later_overrides_go_before_earlier_ones() -> None:
    space, fixed = split("a=1,2", "b=1,2", "c=1,2", "d=3", "a=interval(0.0,1.0)", "~b", "c=7", "d=3,4")
    assert space == {"a": FloatDistribution(0, 1), "d": CategoricalDistribution(["3", "4"])}
    assert fixed == ["c=7"]
    with pytest.raises(InputError, match="nothing is searched"):
        split("a=1,2", "a=1")
    assert split("+x=1,2", "y=1,2", "+x=3") == ({"y": CategoricalDistribution(["1", "2"])}, ["+x=3"])


@pytest.mark.parametrize(
    ("overrides", "space", "words"),
    [
        ((), ("data.fold",), "data.fold cannot be searched"),
        ((), ("monitor",), "monitor cannot be searched"),
        ((), ("data.subset",), "data.subset cannot be searched"),
        ((), ("+data.read.labels.x",), "data.read.labels.x cannot be searched"),
        (("test=true",), (), "leaves the test fold alone"),
        (("data.leave_out=3",), (), "is for guides, not for scores"),
    ],
)
def test_trials_that_could_not_be_compared_are_an_error(
    compose: Callable[..., DictConfig], overrides: tuple[str, ...], space: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_search(compose(*overrides), dict.fromkeys(space))


@pytest.mark.parametrize("name", ["what?", "a#b 100%25", "{x}", "ü+&=x"])
def test_the_database_lies_in_the_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    optuna.create_study(storage=open_storage(sqlite_url(tmp_path / name / "study.db")), study_name="x")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [name, f"{name}/study.db"]
    optuna.load_study(storage=open_storage(sqlite_url(tmp_path / name / "study.db")), study_name="x")


@pytest.mark.parametrize("storage", ["sqlite:///{}/study.db", "{}/study.log"])
def test_study_goes_on_with_the_same_settings_only(
    compose: Callable[..., DictConfig], tmp_path: Path, storage: str
) -> None:
    storage = storage.format(tmp_path)
    space: dict[str, Any] = {"optimizer.lr": CategoricalDistribution(["0.1", "0.2"])}

    def opened(cfg: DictConfig, space: Any = space) -> optuna.Study:
        return open_study(storage, "x", cfg, space, None)

    opened(compose("data.root=a")).ask(space)
    # Where things lie is no setting, and how the search goes on neither.
    assert len(opened(compose("data.root=b", "callbacks=[default,prune]")).trials) == 1
    with pytest.raises(InputError, match=r"was started with seed 0 \(asked: 3\).*hydra.sweeper.study=NAME"):
        opened(compose("data.root=a", "seed=3"))
    space["model"] = FloatDistribution(1e-4, 1e-2, log=True)
    study = opened(compose("data.root=a"))
    study.tell(study.ask(space), 0.5)
    choice, model = space["optimizer.lr"], space["model"]
    for other, named in (
        ({"optimizer.lr": CategoricalDistribution(["0.1", "0.3"]), "model": model}, r"optimizer\.lr"),
        ({"optimizer.lr": choice, "model": FloatDistribution(1e-3, 1e-2, log=True)}, "model"),
        ({"optimizer.lr": choice, "model": model, "encoder": choice}, "encoder"),
        ({"model": model}, r"optimizer\.lr"),
    ):
        with pytest.raises(InputError, match=f"other choices of {named}: take those"):
            opened(compose("data.root=a"), other)
    assert len(opened(compose("data.root=a")).trials) == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.lr=interval(3e-3,3e-4)", "low <= high"),
        ("optimizer.lr=tag(log,interval(0,1e-3))", "low > 0"),
        ("image_size=range(96,64,32)", "one or more elements"),
    ],
)
def test_a_range_that_holds_nothing_is_one_error(override: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        split_overrides(OverridesParser.create().parse_overrides([override]))
    assert str(caught.value).startswith(f"{override}: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_trials": "abc"}, "hydra.sweeper.num_trials=abc: give a whole number, at least 1"),
        ({"num_trials": 0}, "hydra.sweeper.num_trials=0: give"),
        ({"num_parallel": -1}, "hydra.sweeper.num_parallel=-1: give"),
        ({"sampler": "foo"}, "hydra.sweeper.sampler=foo: give its options"),
    ],
)
def test_wrong_options_of_a_search_are_one_error(options: dict[str, Any], words: str) -> None:
    usual = {"num_trials": 1, "num_parallel": 1, "sampler": DictConfig({}), "params": DictConfig({})}
    with pytest.raises(SystemExit, match=f"error: {words}"):
        OptunaSweeper("x", None, **{**usual, **options}).sweep([])


def test_storage_that_cannot_be_opened_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database, but long enough to be taken for one " * 9)
    for text in ("nosuch://host/name", f"sqlite:///{tmp_path}/study.db", "nowhere/study.log"):
        with pytest.raises(InputError, match="cannot open hydra.sweeper.storage="):
            open_storage(text)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    sweeper = OptunaSweeper("x", None, 1, 1, DictConfig({}), DictConfig({}))
    with pytest.raises(
        SystemExit, match=r"error: a search needs the package optuna: pip install '\.\[search\]'"
    ):
        sweeper.sweep([])


def test_trial_is_claimed_once_and_not_while_its_run_is_alive(tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from contextlib import ExitStack\n"
        "from busi.sweeps.study import claim"
    )
    command = [sys.executable, "-c", f"{other}\nprint(claim(Path(sys.argv[1]), ExitStack()))", str(tmp_path)]

    def claimed_by_another_process() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with ExitStack() as claims:
        assert claim(tmp_path, claims)
        assert claimed_by_another_process() == "False"
    with hold(tmp_path):
        assert claimed_by_another_process() == "False"
    assert claimed_by_another_process() == "True"


def test_a_trial_that_ends_while_others_look_for_work_is_not_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker tells what became of it, and lets it go, after the trials were listed."""
    study = optuna.create_study()
    space: dict[str, Any] = {"x": FloatDistribution(0, 1)}
    sweeper = OptunaSweeper("x", None, 1, 1, DictConfig({}), DictConfig({}))
    trial = study.ask(space)

    def end_first(folder: Path, claims: ExitStack) -> bool:
        study.tell(trial.number, 0.5)
        return claim(folder, claims)

    monkeypatch.setattr("busi.sweeps.optuna_sweeper.claim", end_first)
    with ExitStack() as claims:
        assert sweeper.take_trials(study, space, tmp_path, claims) == {}


def test_what_a_dead_worker_left_is_taken_before_new_trials(tmp_path: Path) -> None:
    sweeper = OptunaSweeper("x", None, 5, 3, DictConfig({}), DictConfig({}))
    study = optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/study.db"))
    space: dict[str, Any] = {"seed": CategoricalDistribution(["0", "1"])}
    left = study.ask(space)
    study.ask()  # killed before it had its parameters
    study.ask(space)
    record_pruned(tmp_path / "2", 0, "val/x", 0.5)
    study.tell(study.ask(space), 0.5)
    with ExitStack() as claims:
        taken = sweeper.take_trials(study, space, tmp_path, claims)
    assert taken == {0: left.params, 4: study.trials[4].params}
    states = [trial.state.name for trial in study.trials]
    assert states == ["RUNNING", "FAIL", "PRUNED", "COMPLETE", "RUNNING"]
    # A worker of another folder cannot tell whether the last one, which said where it lies, still runs.
    (tmp_path / "elsewhere").mkdir()
    with ExitStack() as claims:
        assert 4 not in sweeper.take_trials(study, space, tmp_path / "elsewhere", claims)


def test_job_that_another_process_begins_this_moment_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    assert read_job(tmp_path / "0" / ".hydra")["status"] == "stopped"
    record_pruned(tmp_path / "0", 3, "val/loss", float("nan"))
    assert read_job(tmp_path / "0" / ".hydra")["metrics"] == {"val/loss": None}
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text("- data.split_seed=${seed}\n- +x='a b'\n")
    assert read_job(tmp_path / "0" / ".hydra")["overrides"] == {"data.split_seed": "${seed}", "x": "'a b'"}


def begin_trial(folder: Path, storage: str, others: float) -> optuna.Study:
    """A study whose first trial reported `others` every epoch, and whose second one runs in `folder`."""
    study = optuna.create_study(study_name="x", storage=open_storage(storage), direction="maximize")
    reported = dict.fromkeys(range(3), others)
    study.add_trial(optuna.trial.create_trial(value=others, intermediate_values=reported))
    study.ask()
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("- seed=0\n")
    write_json(folder / TRIAL, {"storage": storage, "study": "x", "trial": 1})
    return study


PRUNING = (
    *("stage=seg", *SMALL, "trainer.max_epochs=3", "callbacks=[default,prune]"),
    *("callbacks.prune.pruner.n_startup_trials=1", "callbacks.prune.pruner.n_warmup_steps=0"),
)


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_trial_ends_early_if_others_were_better(
    compose: Callable[..., DictConfig], tmp_path: Path, devices: int
) -> None:
    # What is imported before the tests has no shape checks.
    from busi.runs.finding import find_runs
    from busi.sweeps.jobs import Pruned
    from busi.training.fitting import fit

    folder = tmp_path / "outputs" / "sweeps" / "x" / "1"
    study = begin_trial(folder, f"{tmp_path}/study.log", 2.0)
    several = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"] if devices == 2 else []
    with pytest.raises(Pruned, match="pruned after epoch 1"):
        fit(compose(*PRUNING, *several), folder)
    assert find_runs(tmp_path, "seg") == []
    job = read_job(folder / ".hydra")
    assert (job["status"], job["score"], job["epoch"]) == ("pruned", None, 0)
    assert study.trials[1].intermediate_values == {0: job["metrics"]["val/dice_net"]}


def test_trial_reports_every_epoch(compose: Callable[..., DictConfig], tmp_path: Path) -> None:
    from busi.core.tables import read_table
    from busi.training.fitting import fit

    folder = tmp_path / "outputs" / "sweeps" / "x" / "1"
    study = begin_trial(folder, f"{tmp_path}/study.log", -1.0)
    run = fit(compose(*PRUNING), folder)
    rows = [row for row in read_table(folder / "log" / "metrics.csv") if row["val/dice_net"]]
    assert study.trials[1].intermediate_values == {
        int(row["epoch"]): pytest.approx(float(row["val/dice_net"])) for row in rows
    }
    assert len(rows) == 3
    assert run.monitored[1] == max(study.trials[1].intermediate_values.values())
    assert read_job(folder / ".hydra")["status"] == "finished"


def test_command_records_failed_trials_goes_on_and_leaves_table_and_plots(
    train: Train, tmp_path: Path
) -> None:
    done = train(*SEARCH)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "sweeps" / "optuna_seg"
    with (folder / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["finished", "finished", "failed"]
    assert rows[2]["optimizer.lr"] == "1e+30"
    assert "the segmentation model gives NaN" in rows[2]["error"]
    study = optuna.load_study(study_name="optuna_seg", storage=f"sqlite:///{folder}/study.db")
    assert str(study.best_trial.number) == rows[0]["job"]
    assert study.best_value == float(rows[0]["val/dice_net"])
    assert study.trials[int(rows[2]["job"])].state == TrialState.FAIL
    for row in rows[:2]:
        assert study.trials[int(row["job"])].params == {"optimizer.lr": row["optimizer.lr"]}
        metrics = json.loads((folder / row["job"] / "metrics.json").read_text())
        assert not [name for name in metrics if name.startswith("test/")]
    assert f"resume={folder}/{rows[0]['job']} test=true" in done.stdout
    for name in ("history.png", "importances.png", "slice.png", "summary.md"):
        assert (folder / name).is_file()

    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    done = train(*SEARCH)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*")} == before

    done = train("search=optuna_seg", *SMALL)
    assert done.returncode == 1
    assert "error: search=optuna_seg is a search of many runs: add -m" in done.stderr
