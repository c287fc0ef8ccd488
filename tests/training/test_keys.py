"""Settings that nothing reads, and values of a wrong kind, are one line that names what was meant."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from busi.core.accepted import check_arguments, find_misfit
from busi.core.building import to_plain
from busi.core.files import conf_dir
from busi.core.types import InputError
from busi.modules.classification import ClsModule
from busi.modules.losses import BCEDiceLoss, CrossEntropyLoss
from busi.modules.segmentation import SegModule
from busi.training.arguments import expand_resume, quote_paths
from busi.training.checks import check_loss
from busi.training.fitting import resolve
from busi.training.keys import check_keys, options_of
from busi.training.overrides import check_overrides, options_first

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("fold=1", "fold is no setting: did you mean data.fold?"),
        ("trainer.limit_train_batches=5", "so add it with +trainer.limit_train_batches=..."),
        ("+fold=1", "fold is no setting: did you mean data.fold?"),
        ("++epochs=3", "did you mean trainer.max_epochs?"),
        ("data=pooled data.sources={a:b}", "data.sources={name: path, ...} goes without data=pooled"),
        ("data.foldd=1", "did you mean data.fold or data.folds?"),
        ("optimizer.lrr=1", "did you mean optimizer.lr?"),
        ("stage=cls model.network.dropuot=1", "did you mean model.network.dropout?"),
        ("~callbacks.progres", "did you mean callbacks.progress"),
        ("modle=unet", "model"),
        ("model=unett", "there is no model=unett: did you mean unet"),
        ("callbacks=[default,emaa]", "there is no callbacks=emaa: did you mean ema?"),
        ("data=cvs", "did you mean csv?"),
        ("seg_ckpt=x", "it belongs to stage=cls, this is stage=seg"),
        ("+guide=predicted", "it belongs to stage=cls, this is stage=seg"),
        ("stage=cls postprocess=tuned", "it belongs to stage=seg, this is stage=cls"),
        ("+model.foo=1", "arguments of the network are written model.network.foo"),
        ("+callbacks.x.y=1", "callbacks.x has no _target_"),
        ("data.fold 1", "data.fold: write NAME=VALUE"),
        ("optimizer.lr=[1", "cannot be read: it ends inside a bracket. Put quotes around all of it"),
        ("data.root=a optimizer.lr=1]", "cannot be read: quote a value"),
        ("--stage seg", "did you mean stage=...?"),
        ("model=small", "segformer, unet, unet_plain, unet_resnet34, unetplusplus (one of your own"),
        ("loss=nan", "loss=nan: give the name of an option"),
        ("data.fold=1,2", "add -m"),
        ("--epochs 3", "there is no --epochs: settings are NAME=VALUE"),
        ("-m data.fold=0,1 seeds=1", "did you mean seed?"),
        ("-m optimizer.lr=interval(1,2) fold=1", "did you mean data.fold?"),
        ("hydra.run.dirr=x", "--cfg hydra"),
        ("--config-dir nowhere", "there is no such folder"),
        ("fold=1 --cfg job", "did you mean data.fold?"),
        ("-m model=unet,unett", "there is no model=unett: did you mean unet"),
        ("-m seed=0,1 data.fold=0,1,7", "data.fold=7: give a fold from 0 to 4"),
        ("-m loss=bce_dice,focal", "loss=focal is for stage=cls: give bce_dice or focal_tversky"),
        ("++data.fodl=2", "data.fodl is no setting: did you mean data.fold"),
        ("stage=seg model=timm", "this model is for stage=cls, not stage=seg: give deeplabv3plus"),
        ("stage=cls loss=bce_dice", "loss=bce_dice is for stage=seg: give cross_entropy or focal"),
        ("stage=seg data.balance=weights", "data.balance=weights is for stage=cls: give sampler"),
        ("trainer.max_epochs=ten", "trainer.max_epochs=ten: give a whole number, at least 1"),
        ("data.fold=9", "data.fold=9: give a fold from 0 to 4"),
    ],
)
def test_an_override_that_is_none_is_refused(arguments: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as refused:
        check_overrides(arguments.split())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        "stage=cls model=timm encoder=convnext_tiny",
        "data.fold=1 +trainer.benchmark=true '~callbacks.progress'",
        "+augmentation.blur={_target_:albumentations.GaussianBlur,p:0.1}",
        "-m data.fold=range(0,5) seed=0,1",
        "-m search=optuna_seg optimizer.lr=interval(1e-4,1e-2)",
        "-m model=glob(u*)",
        "-m model=unet,unet_plain data.fold=choice(0,1) seed=0,1",
        "-m stage=seg,cls",
        "hydra.mode=MULTIRUN data.exclude=a.csv,b.csv",
        "callbacks=[default,ema] ++optimizer.lr=1 hydra.run.dir=x",
        "--help fold=1",
        "--info defaults-tree",
    ],
)
def test_what_can_be_set_is_taken(arguments: str) -> None:
    check_overrides(quote_paths(expand_resume(arguments.replace("'", "").split())))


@pytest.mark.parametrize(
    "arguments",
    [
        "stage=seg --config-dir my seed=1 -m data.fold=0,1",
        "stage=seg seed=1 data.fold=0,1 --multirun --config-dir my",
        "--config-dir=my stage=seg -m seed=1 data.fold=0,1",
    ],
)
def test_options_and_overrides_stand_in_any_order(arguments: str) -> None:
    asked, unknown = get_args_parser().parse_known_args(options_first(arguments.split()))
    assert not unknown
    assert (asked.config_dir, asked.multirun) == ("my", True)
    assert asked.overrides == ["stage=seg", "seed=1", "data.fold=0,1"]


def test_a_folder_of_own_options_is_searched(tmp_path: Path) -> None:
    """Its options compose; a key in them that nothing reads is found, and one that something names is not."""
    (tmp_path / "experiment").mkdir()
    place = ["--config-dir", str(tmp_path)]
    for text, words in (
        ("fold: 1", "fold is no setting: did you mean data.fold"),
        ("mine: 64\nimage_size: ${mine}", None),
        ("data:\n  fold: 1", None),
    ):
        (tmp_path / "experiment" / "own.yaml").write_text(f"# @package _global_\n{text}\n")
        if words is None:
            check_overrides([*place, "experiment=own"])
        else:
            with pytest.raises(InputError, match=words):
                check_overrides([*place, "experiment=own"])
    with pytest.raises(InputError, match="there is no experiment=won: did you mean own"):
        check_overrides([*place, "experiment=won"])


OPTIONS = sorted((path.parent.name, path.stem) for path in conf_dir().glob("*/*.yaml"))


@pytest.mark.parametrize("group", sorted({group for group, _ in OPTIONS}))
def test_every_option_is_accepted(compose: Compose, tmp_path: Path, group: str) -> None:
    """In the stage that it belongs to."""
    for name in (name for one, name in OPTIONS if one == group):
        ours = [stage for stage in ("seg", "cls") if name in options_of(group, stage)]
        stage = name if group == "stage" else (ours or ["cls" if group == "guide" else "seg"])[0]
        stage = "cls" if name.endswith("_cls") else stage
        choice = (
            f"callbacks=[default,{name}]" if group == "callbacks" and name != "default" else f"{group}={name}"
        )
        cfg = compose(f"stage={stage}", choice, "data.root=unused")
        check_keys(cfg)
        check_arguments(to_plain(resolve(cfg, tmp_path)))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("optimizer.weight_decay=fast", "optimizer.weight_decay=fast: give a number"),
        ("+optimizer.betas=[a,b]", "give a list of numbers"),
        ("+optimizer.foo=1", "torch.optim.AdamW has no argument foo: it takes params, lr"),
        ("optimizer=sgd optimizer.nesterov=1", "give true or false"),
        ("+trainer.benchmrk=true", "did you mean trainer.benchmark?"),
        ("+trainer.limit_train_batches=half", "give a number or null"),
        ("loss.dice_weight=many", "loss.dice_weight=many: give a number"),
        ("+loss.smoth=1", "did you mean loss.smooth?"),
        ("augmentation.flip.p=often", "augmentation.flip.p=often: give a number"),
        ("+augmentation.flip.foo=1", "albumentations.HorizontalFlip has no argument foo"),
        ("model.network.decoder_channels=[1,a]", "give a list of whole numbers"),
        ("data.epoch_size=many", "give a whole number or null"),
        ("+data.read.foo=1", "busi.data.read_busi has no argument foo"),
        ("stage=cls model.network.dropout=high", "give a number"),
        ("callbacks=[default,early_stopping] callbacks.early_stopping.patience=1.5", "give a whole number"),
    ],
)
def test_arguments_are_compared_with_what_their_target_takes(
    compose: Compose, tmp_path: Path, overrides: str, words: str
) -> None:
    cfg = compose("data.root=x", *overrides.split())
    with pytest.raises(InputError, match=re.escape(words)):
        check_arguments(to_plain(resolve(cfg, tmp_path)))


def test_any_argument_of_a_target_can_be_added(compose: Compose, tmp_path: Path) -> None:
    added = (
        *("+trainer.benchmark=true", "+trainer.limit_train_batches=0.5", "+trainer.max_time=00:01:00:00"),
        *(
            "+optimizer.betas=[0.9,0.99]",
            "+optimizer.foreach=null",
            "+loss.smooth=10",
            "+scheduler.eta_min=1e-5",
        ),
        *("+augmentation.blur={_target_:albumentations.GaussianBlur,p:0.1}", "augmentation.affine.rotate=20"),
        *("+model.network.decoder_attention_type=scse", "data.name='5'", "trainer.devices=[0]"),
    )
    cfg = compose("data.root=x", *added)
    check_keys(cfg)
    check_arguments(to_plain(resolve(cfg, tmp_path)))


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (1, float, True),
        (True, float, False),
        (1.5, int, False),
        (0, bool, False),
        ("x", int | None, False),
        (None, int, True),
        ([1, 2], tuple[float, float] | float, True),
        (["x"], list[str], True),
        ({"a": 1}, dict[str, int] | None, True),
        ({"_target_": "x"}, float, True),
        ("x", object, True),
        ("x", Path | int, True),
    ],
)
def test_kinds(value: object, kind: object, fits: bool) -> None:
    """What a kind says nothing about is left to the target."""
    assert (find_misfit(value, kind) is None) == fits


def test_a_loss_of_the_other_stage_is_refused_and_fitting_ones_are_named(compose: Compose) -> None:
    wrong = SegModule(torch.nn.Identity(), CrossEntropyLoss())
    with pytest.raises(InputError, match="give loss=bce_dice or loss=focal_tversky"):
        check_loss(compose("loss=cross_entropy"), wrong)
    other = ClsModule(torch.nn.Identity(), BCEDiceLoss())
    with pytest.raises(InputError, match="give loss=cross_entropy or loss=focal"):
        check_loss(compose("stage=cls", "loss=bce_dice"), other)
    for right in (
        SegModule(torch.nn.Identity(), torch.nn.BCEWithLogitsLoss()),
        ClsModule(torch.nn.Identity()),
    ):
        check_loss(compose(), right)


@pytest.mark.parametrize("group", ["model", "loss"])
def test_the_help_lists_every_model_and_loss_under_its_stage(group: str) -> None:
    text = (conf_dir() / "train.yaml").read_text(encoding="utf-8")
    models = text.partition("Models and losses")[2].partition("encoder=NAME")[0]
    seg, cls = models.partition("stage=cls")[::2]
    for stage, part in (("seg", seg), ("cls", cls)):
        (listed,) = re.findall(rf"{group}=(.*)", part)
        assert sorted(listed.split(", ")) == options_of(group, stage)
