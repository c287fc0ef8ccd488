"""Every option of every group composes, builds, and trains a step with the stage that it belongs to."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import lightning
import pytest
import torch
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from busi.core.batch import Batch
from busi.core.files import conf_dir
from busi.core.types import InputError
from busi.modules.base import StageModule
from busi.training.build import build_module
from busi.training.fitting import check, resolve
from busi.training.keys import check_stage

OPTIONS = sorted((path.parent.name, path.stem) for path in conf_dir().glob("*/*.yaml"))
STAGES = [name for group, name in OPTIONS if group == "stage"]
TINY = ("image_size=32", "encoder_weights=none", "trainer.max_epochs=2", "data.root=unused")


def stage_of(compose: Callable[..., DictConfig], group: str, name: str) -> str:
    """The stage whose config an option is for: its own word, or the stage that has such a key by default."""
    if group == "stage":
        return name
    if group == "experiment":
        return str(compose(f"experiment={name}").stage)
    if group == "model":
        return str(compose(f"model={name}").model.stage)
    if group == "loss":
        loss = instantiate(compose(f"loss={name}").loss)
        return "cls" if "class_weights" in inspect.signature(loss.forward).parameters else "seg"
    return "cls" if group == "guide" else "seg"


def choose(group: str, name: str) -> str:
    """The override of an option; callbacks are added to the default ones."""
    return f"callbacks=[default,{name}]" if group == "callbacks" and name != "default" else f"{group}={name}"


def batch() -> Batch:
    return {
        "image": torch.rand(4, 1, 32, 32),
        "mask": (torch.rand(4, 1, 32, 32) > 0.5).float(),
        "guide": torch.rand(4, 1, 32, 32),
        "label": torch.tensor([0, 1, 2, 1]),
        "group": torch.arange(4),
        "source": torch.zeros(4, dtype=torch.int64),
        "id": list("abcd"),
        "seed": [-1] * 4,
    }


def build(cfg: DictConfig) -> StageModule:
    return build_module(cfg)


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_option_builds_and_takes_a_step(
    compose: Callable[..., DictConfig], tmp_path: Path, group: str, name: str
) -> None:
    cfg = resolve(compose(f"stage={stage_of(compose, group, name)}", *TINY, choose(group, name)), tmp_path)
    check(cfg)
    instantiate(cfg.data)
    for node in (*cfg.callbacks.values(), *cfg.logger.values()):
        instantiate(node)
    if cfg.trainer.accelerator != "gpu":
        assert isinstance(instantiate(cfg.trainer, logger=False), lightning.Trainer)
    module = build(cfg)
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    before = [p.detach().clone() for p in module.network.parameters()]
    module.step(batch(), module.train_metrics).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    follows = isinstance(schedule["scheduler"], torch.optim.lr_scheduler.ReduceLROnPlateau)
    schedule["scheduler"].step(*[0.5] if follows else [])
    assert schedule["monitor"] == cfg.monitor
    after = list(module.network.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.isfinite(p).all() for p in after)


@pytest.mark.parametrize("stage", STAGES)
def test_monitor_is_a_metric_that_the_stage_logs(compose: Callable[..., DictConfig], stage: str) -> None:
    cfg = compose(f"stage={stage}", *TINY, "run_dir=x")
    assert cfg.monitor in {*build(cfg).val_metrics.keys(), "val/loss"}
    assert cfg.callbacks.checkpoint.monitor == cfg.monitor


@pytest.mark.parametrize(("stage", "model"), [("seg", "guide_early"), ("cls", "unet")])
def test_model_of_the_other_stage_is_one_error(
    compose: Callable[..., DictConfig], stage: str, model: str
) -> None:
    with pytest.raises(InputError, match=f"not stage={stage}"):
        check_stage(compose(f"stage={stage}", f"model={model}", "run_dir=here"))


def test_averaging_alone_would_save_nothing_and_says_so(compose: Callable[..., DictConfig]) -> None:
    with pytest.raises(InputError, match=r"callbacks=\[default,ema\]"):
        check(compose("callbacks=ema", "run_dir=here"))


def named_stage(experiment: str) -> str | None:
    """The stage that an experiment, or one that it builds on, is for; None for both."""
    text = (conf_dir() / "experiment" / f"{experiment}.yaml").read_text()
    if own := re.search(r"override /stage: (\w+)", text):
        return own[1]
    return next(
        (named_stage(base) for base in re.findall(r"^  - (\w+)$", text, re.M) if base != "_self_"), None
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", [name for group, name in OPTIONS if group == "experiment"])
def test_experiment_fits_its_stages_and_the_command_line_beats_it(
    compose: Callable[..., DictConfig], stage: str, name: str
) -> None:
    """One that names a stage is refused by the other."""
    if named_stage(name) not in (None, stage):
        with pytest.raises(
            (InputError, ConfigCompositionException), match=rf"best_\w+|laptop_\w+|stage={stage}"
        ):
            check(compose(f"stage={stage}", f"experiment={name}"))
        return
    cfg = compose(f"stage={stage}", f"experiment={name}", "trainer.max_epochs=77")
    assert cfg.stage == stage
    assert cfg.trainer.max_epochs == 77
    assert cfg != compose(f"stage={stage}", "trainer.max_epochs=77")


@pytest.mark.parametrize("stage", STAGES)
def test_stages_take_the_same_split(compose: Callable[..., DictConfig], stage: str) -> None:
    keys = ("num_folds", "fold", "split_seed", "conflicts", "exclude", "on_bad")
    assert {k: compose(f"stage={stage}").data[k] for k in keys} == {
        k: compose("stage=seg").data[k] for k in keys
    }


def test_command_line_beats_stage_and_stage_beats_root(compose: Callable[..., DictConfig]) -> None:
    assert compose("stage=cls").data.balance == "sampler"
    assert compose("stage=cls", "data.balance=weights").data.balance == "weights"
    assert compose("stage=cls", "data=csv").data.balance == "sampler"
    assert compose("trainer=debug", "trainer.max_epochs=3").trainer.max_epochs == 3


@pytest.mark.parametrize("name", ["light", "strong"])
def test_transforms_can_be_named_away(compose: Callable[..., DictConfig], name: str) -> None:
    cfg = compose(f"augmentation={name}", "augmentation.flip.p=0", "~augmentation.gain")
    assert cfg.augmentation.flip.p == 0
    assert "gain" not in cfg.augmentation
    assert len(instantiate(cfg.augmentation).compose) == len(cfg.augmentation) - 1


def test_resolved_config_has_no_interpolation_left(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    assert "${" not in OmegaConf.to_yaml(resolve(compose("data.root=x"), tmp_path))


def test_root_is_the_option_then_the_environment_then_the_default(
    compose: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BUSI_ROOT", raising=False)
    assert compose().data.root == "data/Dataset_BUSI_with_GT"
    monkeypatch.setenv("BUSI_ROOT", "from/environment")
    assert compose().data.root == "from/environment"
    assert compose("data.root=given").data.root == "given"
