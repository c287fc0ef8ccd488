"""The parts as a Lightning user takes them, without a config: data, modules, trainer, checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from busi import BUSIDataModule, ClsModule, SegModule
from busi.core import CLASSES, InputError, built_from
from busi.data import read_busi, read_csv, read_synthetic
from busi.guides import GroundTruthGuide, PredictedGuide
from busi.models import EarlyGuide, build_network, guided_classifier, unet
from busi.modules import BCEDiceLoss, StageModule
from busi.runs import open_run


@pytest.fixture(scope="module")
def root(cache: Path) -> Path:
    """A folder in the layout of BUSI."""
    made = read_synthetic(cache / "synthetic", 25, 20, 15, height=96, seed=0)
    return made[0][0].image.parents[1]


def open_data(root: Path, cache: Path, **options: Any) -> BUSIDataModule:
    return BUSIDataModule(root, image_size=32, num_folds=3, cache_dir=cache, **options)


def make_trainer(folder: Path, **options: Any) -> lightning.Trainer:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return lightning.Trainer(
        accelerator="cpu", max_epochs=1, default_root_dir=folder, log_every_n_steps=1, **quiet, **options
    )


@pytest.fixture(scope="module")
def fitted_unet(
    root: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SegModule, dict[str, float], Path]:
    """A trained U-Net, its test metrics, and its checkpoint."""
    module, data = SegModule(unet(weights="none"), threshold=0.4), open_data(root, cache)
    trainer = make_trainer(tmp_path_factory.mktemp("seg"))
    trainer.fit(module, data)
    (metrics,) = trainer.test(module, data, verbose=False)
    return module, dict(metrics), Path(trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]


def test_module_comes_back_from_its_checkpoint(
    fitted_unet: tuple[SegModule, dict[str, float], Path], root: Path, cache: Path, tmp_path: Path
) -> None:
    module, metrics, path = fitted_unet
    assert set(metrics) == {"test/loss", "test/dice_net", "test/dice_all_net"}
    again = SegModule.load_from_checkpoint(path)
    assert again.threshold == 0.4
    assert all(torch.equal(x, again.state_dict()[name]) for name, x in module.state_dict().items())
    (anew,) = make_trainer(tmp_path).test(again, open_data(root, cache), verbose=False)
    assert anew == pytest.approx(metrics)


def test_a_checkpoint_is_data(fitted_unet: tuple[SegModule, dict[str, float], Path]) -> None:
    content = torch.load(fitted_unet[2], weights_only=True)
    assert content["hyper_parameters"]["network"]["_target_"] == "busi.models.Normalized"


def test_training_goes_on_with_the_epoch_after_that_of_the_checkpoint(
    fitted_unet: tuple[SegModule, dict[str, float], Path], root: Path, cache: Path
) -> None:
    """Also in loader processes, which draw before the trainer says which epoch it is in."""
    data = open_data(root, cache)
    trainer = make_trainer(fitted_unet[2].parents[1], num_sanity_val_steps=0)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(SegModule(unet(weights="none")), data, ckpt_path=str(fitted_unet[2]))
    assert trainer.current_epoch == 2
    assert list(data.train_dataloader().sampler) == list(trainer.train_dataloader.sampler)  # type: ignore[union-attr]


def test_own_network_and_loss_are_given_again(root: Path, cache: Path, tmp_path: Path) -> None:
    network, loss = nn.Conv2d(1, 1, 3, padding=1), BCEDiceLoss(dice_weight=0.9)
    trainer = make_trainer(tmp_path)
    trainer.fit(SegModule(network, loss), open_data(root, cache))
    path = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"load_from_checkpoint\(path, network=\.\.\., loss=\.\.\.\)"):
        SegModule.load_from_checkpoint(path)
    again = SegModule.load_from_checkpoint(path, network=nn.Conv2d(1, 1, 3, padding=1), loss=loss)
    assert torch.equal(again.network.weight, network.weight)  # type: ignore[arg-type]


def test_configs_are_built_and_nothing_else_is() -> None:
    adam = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.01}
    module = SegModule(built_from(unet(weights="none")), optimizer=adam)
    assert isinstance(module.configure_optimizers(), torch.optim.Adam)
    with pytest.raises(InputError, match=r"os\.system is nothing that a config may build"):
        SegModule({"_target_": "os.system"})
    for wrong in ("torch.nn.Nope", "nowhere.Network", "busi.core.files.os.system"):
        with pytest.raises(InputError, match="is nothing that a config may build"):
            SegModule({"_target_": wrong})
    with pytest.raises(InputError, match="model.tta=flop: give none or flip"):
        unet(weights="none", tta="flop")
    with pytest.raises(InputError, match="network: give one"):
        SegModule()


def test_own_segmenter_of_a_classifier_is_given_again() -> None:
    network = guided_classifier(weights="none")
    stored = ClsModule(network, segmenter=nn.Conv2d(1, 1, 3)).arguments
    with pytest.raises(InputError, match=r"load_from_checkpoint\(path, segmenter=\.\.\.\)"):
        ClsModule(**stored)


def test_networks_of_programs_are_those_of_the_configs(compose: Callable[..., DictConfig]) -> None:
    for stage, network in (("seg", unet(weights="none")), ("cls", guided_classifier(weights="none"))):
        assert built_from(network) == built_from(build_network(compose(f"stage={stage}").model))


def test_lesions_without_annotation_are_not_learned_as_normal(
    root: Path, cache: Path, tmp_path: Path
) -> None:
    rows = ["image,label,mask"]
    for i, record in enumerate(read_busi(root)[0]):
        mask = "" if i % 9 == 0 else ";".join(map(str, record.masks))
        rows.append(f"{record.image},{CLASSES[record.label]},{mask}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    data = open_data(tmp_path / "manifest.csv", cache, read=read_csv)
    with pytest.raises(InputError, match=r"lesions have no annotation .*data\.need_masks=true"):
        make_trainer(tmp_path).fit(SegModule(unet(weights="none")), data)
    kept = open_data(tmp_path / "manifest.csv", cache, read=read_csv, need_masks=True)
    assert not kept.cohort.unannotated


def test_stage_module_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        StageModule()  # type: ignore[abstract,call-arg]


def test_classifier_trains_on_guides_that_its_data_makes(
    trained: Path, cache: Path, root: Path, tmp_path: Path
) -> None:
    seg = open_run(trained.parents[1] / "seg" / "run")
    data = open_data(root, cache, balance="sampler", guide=PredictedGuide(seg.folder))
    module = ClsModule(guided_classifier(weights="none"), **data.class_balance())
    trainer = make_trainer(tmp_path)
    trainer.fit(module, data)
    assert data.guides is not None
    assert data.guides.any()
    again = ClsModule.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    assert torch.equal(again.logit_correction, module.logit_correction)
    assert module.logit_correction.any()
    (metrics,) = trainer.test(again, data, verbose=False)
    assert set(metrics) == {"test/loss", "test/auroc", "test/macro_f1", "test/accuracy"}


def test_module_of_a_run_is_the_one_that_it_trained(trained: Path) -> None:
    """The commands write what Lightning reads, the segmentation network inside included."""
    for folder, kind in ((trained.parents[1] / "seg" / "run", SegModule), (trained, ClsModule)):
        run = open_run(folder)
        module = kind.load_from_checkpoint(run.best_checkpoint)
        state = torch.load(run.best_checkpoint, weights_only=True)["state_dict"]
        assert module.state_dict().keys() == state.keys()
        assert all(torch.equal(x, state[name]) for name, x in module.state_dict().items())
        assert built_from(module.loss) == OmegaConf.to_container(run.config.loss)


def test_guides_are_made_once_and_empty_without_a_maker(root: Path, cache: Path) -> None:
    data = open_data(root, cache, guide=GroundTruthGuide())
    assert data.guides is None
    data.setup("fit")
    first = data.guides
    data.setup("test")
    assert data.guides is first
    batch = next(iter(data.val_dataloader()))
    assert torch.equal(batch["guide"], batch["mask"])
    empty = open_data(root, cache)
    empty.setup("fit")
    assert not next(iter(empty.val_dataloader()))["guide"].any()
    assert EarlyGuide("resnet10t")(batch["image"], batch["guide"]).shape == (len(batch["id"]), 3)
