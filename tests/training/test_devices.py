"""Where a run computes: on a GPU that works, else on the CPU, and nowhere else if the CPU is asked for."""

from collections.abc import Callable, Iterator

import pytest
import torch
from lightning.pytorch.accelerators.cpu import CPUAccelerator
from lightning.pytorch.accelerators.mps import MPSAccelerator
from omegaconf import DictConfig

from busi.guides import prepare as guides
from busi.inference import maps
from busi.inference.maps import default_device
from busi.runs.run import Run
from busi.training.build import build, prepare
from busi.training.distributed import find_device
from tests.conftest import SMALL

Compose = Callable[..., DictConfig]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """Which device works is asked once a process."""
    default_device.cache_clear()
    yield
    default_device.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize("reason", ["no kernel image is available\nfor execution", "out of memory"])
def test_a_gpu_that_does_not_work_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    def fail(*_: object, device: str) -> None:
        raise torch.AcceleratorError(f"{device}: {reason}")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.zeros", fail)
    assert [default_device(), default_device()] == [CPU, CPU]
    (record,) = caplog.records
    assert record.getMessage().startswith("The GPU is left alone (cuda: ")


@pytest.mark.parametrize(
    ("accelerator", "there", "device"),
    [("auto", GPU, GPU), ("auto", CPU, CPU), ("cpu", GPU, CPU), ("gpu", GPU, GPU), ("cuda", GPU, GPU)],
)
def test_a_run_computes_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, there: torch.device, device: torch.device
) -> None:
    monkeypatch.setattr("busi.training.distributed.default_device", lambda: there)
    assert find_device(DictConfig({"accelerator": accelerator})) == device


@pytest.mark.parametrize("there", [True, False])
def test_processes_that_share_a_run_try_no_gpu(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """All of them would take the first one."""
    monkeypatch.setattr("busi.training.distributed.default_device", lambda: pytest.fail("tried"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert find_device(DictConfig({"accelerator": "auto"})) == (GPU if there else CPU)


@pytest.mark.filterwarnings("ignore:GPU available but not used")
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be taken")
def test_the_gpu_of_a_mac_is_left_alone(
    fitted: Callable[..., Run], compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no double precision. Lightning takes it by itself."""
    del fitted
    cfg = compose("stage=seg", *SMALL, "trainer.accelerator=auto")
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    cfg.run_dir = "nowhere"
    data, guide = prepare(cfg)
    _, trainer = build(cfg, data, guide, None)
    assert isinstance(trainer.accelerator, CPUAccelerator)


def test_guides_of_a_run_on_the_cpu_are_made_there(
    fitted: Callable[..., Run], compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> torch.device:
        pytest.fail("a GPU would be taken")

    seg = fitted("seg")
    monkeypatch.setattr(maps, "default_device", fail)
    monkeypatch.setattr(guides, "default_device", fail)
    data, guide = prepare(compose("stage=cls", *SMALL, "data.num_folds=3", f"seg_ckpt={seg.folder}"))
    assert guide.device == CPU
    assert data.guides is not None
