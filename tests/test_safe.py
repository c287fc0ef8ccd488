"""Run folders and checkpoints of somebody else: whatever they name, nothing in them runs."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from busi.core import targets
from busi.core.building import to_plain
from busi.core.files import conf_dir, file_hash
from busi.core.types import InputError
from busi.evaluation.evaluation import evaluate
from busi.inference.export import write_bundle
from busi.inference.loading import load_networks
from busi.inference.predictor import Predictor
from busi.modules.classification import ClsModule
from busi.reporting.report import report_runs
from busi.runs.checkpoints import load_network, read_best
from busi.runs.fingerprints import FOLD_SETTINGS, settings_fingerprint
from busi.runs.run import FILES, Run, open_run
from busi.training.ensemble import ensemble_folders
from busi.training.fitting import go_on
from tests.conftest import SMALL
from tests.processes import call

Train = Callable[..., subprocess.CompletedProcess[str]]
Config = dict[str, Any]

PLACES = (
    "model.network",
    "model.network.hidden",
    "loss",
    "optimizer",
    "scheduler",
    "module",
    "score",
    "postprocess",
    "guide",
    "data",
    "data.read",
    "data.augmentation",
    "callbacks.more",
    "logger.more",
    "trainer",
    "trainer.profiler",
    "more",
)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there as soon as anything of somebody else ran; a package makes it when imported."""
    trace = tmp_path / "trace"
    package = tmp_path / "packages" / "evil_package"
    package.mkdir(parents=True)
    code = f"import pathlib, torch\npathlib.Path({str(trace)!r}).touch()\n"
    code += "class Net(torch.nn.Identity): pass\n"
    (package / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(targets, "_trusted", set())
    return trace


def tricks(trace: Path) -> dict[str, Config]:
    """Configs that run something, by the name of their target."""
    found: list[Config] = [
        {"_target_": "evil_package.Net"},
        {"_target_": "os.system", "command": f"touch {trace}"},
        {"_target_": "busi.data.files.glob.os.system", "command": f"touch {trace}"},
        {"_target_": "busi.data.records.Path.touch", "self": str(trace)},
        {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [str(trace)]}]},
        {"_target_": "torch.hub.load", "repo_or_dir": str(trace.parent), "model": "x", "source": "local"},
        {"_target_": "joblib.load", "filename": str(trace.parent / "evil.pkl")},
        {"_target_": "numpy.load", "file": str(trace.parent / "evil.npy"), "allow_pickle": True},
        {"_target_": "torch.load", "f": str(trace.parent / "evil.pt"), "weights_only": False},
        {"_target_": "urllib.request.urlretrieve", "url": f"file://{__file__}", "filename": str(trace)},
        {"_target_": "hydra.utils.call", "config": {"_target_": "evil_package.Net"}},
        {"_target_": "segmentation_models_pytorch.from_pretrained", "_args_": ["somebody/net"]},
        {"_target_": "lightning.pytorch.callbacks.Path.touch", "self": str(trace)},
        {"_target_": "torch.optim.lr_scheduler.types.CodeType"},
        {"_target_": "${oc.env:HOME}"},
        {"_target_": ["os", "system"]},
    ]
    return {str(one["_target_"]): one for one in found}


NAMES = list(tricks(Path("x")))


def put(config: Config, place: str, value: Config) -> None:
    """Put a node into a config, with the other values that the place had."""
    *above, last = place.split(".")
    for name in above:
        config = config.setdefault(name, {})
    before = config.get(last)
    config[last] = {**before, **value} if isinstance(before, dict) and place == "data" else value


def tamper(
    run: Path, folder: Path, change: Callable[[Config], object] = lambda config: config, weights: bool = True
) -> Run:
    """Copy a run folder and change its config, in all its files, so that they agree.

    Args:
        run: A finished run.
        folder: The copy, which may be there.
        change: Changes a config.
        weights: Change the config in the checkpoints too.
    """
    if not folder.exists():
        shutil.copytree(run, folder)
    text = (run / "config.yaml").read_text()
    config = yaml.safe_load(text.replace(yaml.safe_load(text)["run_dir"], str(folder)))
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for path in folder.glob("checkpoints/*.ckpt") if weights else ():
        stored = torch.load(path, weights_only=True)
        stored["busi"]["config"] = yaml.safe_dump(config)
        stored["hyper_parameters"]["network"] = config["model"]["network"]
        torch.save(stored, path)
    provenance = json.loads((run / "provenance.json").read_text())
    if "${" not in str(config):  # no fingerprint can be made of what is looked up elsewhere
        cfg = OmegaConf.create(config)
        assert isinstance(cfg, DictConfig)
        provenance["settings"] = settings_fingerprint(cfg)
        provenance["recipe"] = settings_fingerprint(cfg, FOLD_SETTINGS)
    provenance["files"] = {name: file_hash(folder / name) for name in FILES if (folder / name).is_file()}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return Run(folder, provenance)


def resume(run: Run) -> None:
    """Go on with a run that was stopped after its first epoch."""
    go_on(Run(run.folder, {**run.provenance, "finished": None}), test=True)


@pytest.mark.parametrize("place", PLACES)
def test_nothing_in_a_config_runs_when_a_run_goes_on(
    trained: Path, evil: Path, tmp_path: Path, place: str
) -> None:
    names = NAMES if place == "loss" else NAMES[:5]
    for trick in (tricks(evil)[name] for name in names):
        run = tamper(trained, tmp_path / "run", partial(put, place=place, value=trick), weights=False)
        with pytest.raises(InputError):
            resume(run)
        assert not evil.exists(), trick
        assert "evil_package" not in sys.modules


def open_by(command: str, run: Run, output: Path) -> None:
    """What a command does with a run folder."""
    if command == "report":
        report_runs([run.folder], output, partial=True)
    elif command == "evaluate":
        root = run.config.data.root
        evaluate(run.folder, str(root), output, cache_dir=output / "cache")
    elif command == "ensemble":
        twin = output / "twin"
        shutil.copytree(run.folder, twin)
        ensemble_folders([run.folder, twin], output / "ensemble")
    elif command == "export":
        write_bundle(run.folder, output / "bundle")
    elif command == "predict":
        Predictor(run.folder)
    elif command == "checkpoint":
        load_networks(run.best_checkpoint)
    else:
        ClsModule.load_from_checkpoint(run.best_checkpoint, map_location="cpu")


@pytest.mark.parametrize("command", ["evaluate", "export", "predict", "checkpoint", "lightning"])
def test_no_command_builds_a_network_that_a_run_folder_names(
    trained: Path, evil: Path, tmp_path: Path, command: str
) -> None:
    for trick in (tricks(evil)[name] for name in NAMES[:3]):
        run = tamper(trained, tmp_path / "run", partial(put, place="model.network", value=trick))
        with pytest.raises(InputError):
            open_by(command, run, tmp_path / "output")
        assert not evil.exists(), trick
        assert "evil_package" not in sys.modules


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize("command", ["report", "evaluate", "ensemble", "export"])
def test_no_command_reads_data_by_what_a_run_folder_names(
    trained: Path, evil: Path, tmp_path: Path, command: str, name: str
) -> None:
    def change(config: Config) -> None:
        config["data"]["read"] = {"_target_": name, "_partial_": True}
        config["data"] |= {"root": f"touch {evil}", "_target_": name}

    run = tamper(trained, tmp_path / "run", change)
    with contextlib.suppress(InputError):  # what needs no data goes on
        open_by(command, run, tmp_path / "output")
    assert not evil.exists()
    assert "evil_package" not in sys.modules


def test_resume_takes_nothing_from_what_hydra_stored(trained: Path, evil: Path, tmp_path: Path) -> None:
    run = tamper(trained, tmp_path / "run")
    (run.folder / ".hydra").mkdir(exist_ok=True)
    overrides = [
        "+hydra.callbacks.x._target_=evil_package.Net",
        "trust=[evil_package]",
        "model.network._target_=evil_package.Net",
        f"hydra.searchpath=[file://{tmp_path}]",
    ]
    (run.folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    done = call("busi.train", f"resume={run.folder}", cwd=tmp_path / "packages")  # where it can be imported
    assert done.returncode == 0, done.stderr
    assert "Finished already" in done.stdout
    assert not evil.exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("callbacks.checkpoint.dirpath", "{outside}", "lies outside"),
        ("callbacks.checkpoint.filename", "../../x", "lies outside"),
        ("logger.csv.save_dir", "{outside}", "lies outside"),
        ("logger.csv.version", "../../x", "lies outside"),
        ("trainer.default_root_dir", "{outside}", "lies outside"),
        ("run_dir", "{outside}", "move it back"),
    ],
)
def test_run_that_goes_on_writes_into_its_own_folder_alone(
    trained: Path, tmp_path: Path, name: str, value: str, words: str
) -> None:
    outside = tmp_path / "outside"

    def change(config: Config) -> None:
        *above, last = name.split(".")
        for part in above:
            config = config[part]
        config[last] = value.format(outside=outside)

    run = tamper(trained, tmp_path / "run", change)
    with pytest.raises(InputError, match=words):
        resume(run)
    assert not outside.exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("image_size", "64", "image_size: Input should be a valid integer"),
        ("image_size", 10**9, "image_size: Input should be less than or equal to 4096"),
        ("seed", -1, "seed: Input should be greater than or equal to 0"),
        ("seed", 0.5, "seed"),
        ("stage", "both", "stage: Input should be 'seg' or 'cls'"),
        ("data", None, "data: Input should be a valid dictionary"),
        ("model", [], "model: Input should be a valid dictionary"),
        ("guide", None, "guide is missing"),
        ("monitor", "${oc.env:HOME}", "has interpolations"),
    ],
)
def test_values_of_a_stored_config_are_checked(
    trained: Path, tmp_path: Path, name: str, value: object, words: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, name: value}))
    stored = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    stored["busi"]["config"] = (folder / "config.yaml").read_text()
    torch.save(stored, folder / "checkpoints" / "best.ckpt")
    with pytest.raises(InputError, match=words):
        _ = open_run(folder).config
    with pytest.raises(InputError, match=words):
        load_networks(Path(shutil.copy(folder / "checkpoints" / "best.ckpt", tmp_path / "other.ckpt")))


NETWORK = {"_target_": "busi.models.EarlyGuide", "encoder": "tf_efficientnet_lite0", "dropout": 0.2}


def test_network_that_would_download_is_refused(trained: Path, tmp_path: Path) -> None:
    for k, (name, value) in enumerate({"encoder_weights": "imagenet", "encoder": "hf-hub:a/b"}.items()):
        network = {**NETWORK, name: value}
        run = tamper(trained, tmp_path / str(k), partial(put, place="model.network", value=network))
        with pytest.raises(InputError, match=f"model.network.{name}={value}|model.{name}={value}"):
            load_networks(run.folder)


def test_files_of_another_run_are_refused(trained: Path, tmp_path: Path) -> None:
    for name in ("checkpoints/best.ckpt", "predictions.csv", "metrics.json"):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(trained, folder)
        with (folder / name).open("ab") as file:
            file.write(b"\n")
        with pytest.raises(InputError, match=f"{name} is not the file that this run wrote"):
            write_bundle(folder, tmp_path / "bundle")
        assert not (tmp_path / "bundle").exists()
        if name == "predictions.csv":
            with pytest.raises(InputError, match="is not the file that this run wrote"):
                report_runs([folder], tmp_path / "report", partial=True)
    with pytest.raises(InputError, match="is not the file that this run wrote"):
        read_best(open_run(tmp_path / "checkpoints-best.ckpt"))


def test_checkpoint_of_another_fold_is_refused_even_if_the_fingerprints_fit(
    trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    path = folder / "checkpoints" / "best.ckpt"
    stored = torch.load(path, weights_only=True)
    stored["busi"]["fold"] = 2
    torch.save(stored, path)
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["files"]["checkpoints/best.ckpt"] = file_hash(path)
    (folder / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(InputError, match="is of another run: its fold differ"):
        load_networks(folder)


def test_config_with_another_seed_is_not_that_of_the_run(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "seed": 7}))
    with pytest.raises(InputError, match="config.yaml is not that of this run: settings differ"):
        report_runs([folder], tmp_path / "report", partial=True)


def test_own_package_trains_and_is_opened_by_whoever_says_so(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_trusted", set())
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "own_package.py"
    package.write_text("from busi.models import PlainUNet\n\nclass OwnUNet(PlainUNet):\n    pass\n")
    own = ["model=unet_plain", "model.network._target_=own_package.OwnUNet", "model.network.width=4"]
    folder = tmp_path / "seg"
    arguments = [*SMALL, "stage=seg", *own, "encoder_weights=none", f"hydra.run.dir={folder}"]
    refused = train(*arguments)  # in the folder of the package
    assert refused.returncode == 1
    assert "trust=[own_package] in training, --trust own_package elsewhere" in refused.stderr
    assert not (folder / "provenance.json").exists()
    done = train(*arguments, "trust=own_package")
    assert done.returncode == 0, done.stderr
    run = open_run(folder)
    with pytest.raises(InputError, match="own_package.OwnUNet is nothing that a config may build"):
        load_network(read_best(run))
    again = train(f"resume={folder}", "trust=[own_package]")
    assert "Finished already" in again.stdout
    targets.trust("own_package")
    assert type(load_network(read_best(run)).network).__name__ == "OwnUNet"


@pytest.mark.parametrize("wrong", ["", "my package", "os;", "../x", "a..b"])
def test_trust_names_a_package(wrong: str) -> None:
    with pytest.raises(InputError, match="give the name of a Python package"):
        targets.trust(wrong)


def test_every_target_of_the_options_is_in_the_table(compose: Callable[..., DictConfig]) -> None:
    for group in (*targets.TABLE.keys() - {"module", "score", "data", "model"}, "augmentation"):
        for path in sorted((conf_dir() / group).glob("*.yaml")):
            config = json.loads(json.dumps(yaml.safe_load(path.read_text())).replace("${", "$"))
            targets.check_section(config, targets.SECTIONS.get(group, group), group)
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        stage = yaml.safe_load(path.read_text()).get("stage", "seg")
        targets.check_section(
            to_plain(compose(f"stage={stage}", f"model={path.stem}").model), "model", "model"
        )


def test_only_one_function_turns_a_config_into_an_object() -> None:
    package = Path(targets.__file__).parents[1]
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "instantiate(" in path.read_text().replace(".instantiate_launcher(", "")
    }
    # The sweeper's sampler stands on the command line of the sweep, and is not stored.
    assert found == {"core/building.py", "sweeps/optuna_sweeper.py"}
