"""One image, predicted in every way that there is; and what is measured of a mask."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from jaxtyping import Bool, UInt8
from omegaconf import DictConfig
from PIL import Image
from scipy.special import softmax

from busi import Prediction, Predictor
from busi.core.tables import read_table
from busi.core.types import CLASSES, InputError
from busi.data.frames import Frame, Spacing
from busi.data.geometry import quantize
from busi.data.inputs import find_inputs
from busi.inference.folder import predict_inputs
from busi.inference.loading import load_networks
from busi.metrics.calibration import calibrate
from busi.models.postprocess import Postprocess
from busi.models.two_stage import to_guide
from busi.runs.predictions import find_records
from busi.runs.run import open_run
from busi.training.fitting import fit
from tests.conftest import Fitted

SIZES = [(1, 2), (2, 300), (37, 61), (300, 200), (3000, 4000)]


def make_image(height: int, width: int) -> UInt8[np.ndarray, "{height} {width}"]:
    small = np.random.default_rng(height).integers(0, 256, (9, 9), np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_run_checkpoint_bundle_and_command_say_the_same(
    trained: Path, bundle: Path, tmp_path: Path, height: int, width: int
) -> None:
    image = make_image(height, width)
    Image.fromarray(image).save(tmp_path / "a.png")
    first = Predictor(trained)(image)
    assert first.mask_probs.shape == (height, width)
    assert sum(first.probs.values()) == pytest.approx(1, abs=1e-6)
    others = [
        Predictor(trained / "checkpoints" / "best.ckpt")(tmp_path / "a.png"),
        Predictor(bundle)(Image.open(tmp_path / "a.png").convert("RGB")),
        Predictor(str(bundle))(np.repeat(image[..., None], 3, axis=2)),
    ]
    for other in others:
        assert np.abs(other.mask_probs - first.mask_probs).max() < 1e-3
        assert list(other.probs.values()) == pytest.approx(list(first.probs.values()), abs=1e-4)
        assert other.conformal_set == first.conformal_set
    files = find_inputs([str(tmp_path / "a.png")], leave_out=tmp_path / "out")
    (row,) = predict_inputs(Predictor(trained), files, tmp_path / "out")
    assert [row[f"prob_{name}"] for name in CLASSES] == pytest.approx(list(first.probs.values()), abs=1e-6)
    assert row["pred_area"] == first.pred_area
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png"))
    assert np.array_equal(mask, first.mask * np.uint8(255))
    written = np.asarray(Image.open(tmp_path / "out" / "overlays" / "a.png").convert("RGB"))
    drawn = np.asarray(first.overlay())
    assert drawn.dtype == np.uint8
    assert drawn.shape == (height, width, 3)
    # The file has 256 colors: where all gray levels are seen, the rarest one gives way by a level.
    assert np.abs(drawn.astype(int) - written).max() <= 1


def test_sets_and_probabilities_are_those_of_the_validation_fold(trained: Path) -> None:
    rows = [row for row in read_table(trained / "predictions.csv") if row["split"] == "val"]
    logits = np.array([[float(row[f"logit_{name}"]) for name in CLASSES] for row in rows])
    calibration = calibrate(logits, np.array([CLASSES.index(row["label"]) for row in rows]))
    (info,) = Predictor(trained).infos
    assert info.temperature == calibration.temperature
    assert info.quantiles == calibration.quantiles
    assert Predictor(trained).calibrated


def test_metrics_of_masks_are_those_of_the_model_inside_or_none(trained: Path, tmp_path: Path) -> None:
    """Not those of another checkpoint of its run, or of a run that was stopped."""
    provenance = json.loads((trained / "provenance.json").read_text())
    inside = Path(provenance["upstream"]["segmentation"])
    assert "test/dice" in load_networks(trained)[1].metrics
    shutil.copytree(trained, tmp_path / "cls")
    shutil.copytree(inside.parent.parent, tmp_path / "seg")
    for name, finished in (("last.ckpt", True), ("best.ckpt", False)):
        path = tmp_path / "seg" / "provenance.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | ({} if finished else {"finished": None})))
        provenance["upstream"]["segmentation"] = str(tmp_path / "seg" / "checkpoints" / name)
        (tmp_path / "cls" / "provenance.json").write_text(json.dumps(provenance))
        metrics = load_networks(tmp_path / "cls")[1].metrics
        assert "test/brier" in metrics
        assert "test/dice" not in metrics


def test_held_out_images_get_the_logits_of_the_run(trained: Path) -> None:
    predictor = Predictor(trained)
    (info,) = predictor.infos
    rows = [row for row in read_table(trained / "predictions.csv") if row["split"] == "test"]
    records = find_records(open_run(trained))
    for row in rows:
        logits = np.array([float(row[f"logit_{name}"]) for name in CLASSES])
        found = predictor(records[row["id"]].image)
        assert list(found.probs.values()) == pytest.approx(softmax(logits / info.temperature), abs=1e-5)


def test_guides_in_use_are_rounded_as_stored_ones_are() -> None:
    probs = torch.rand(3, 1, 50, 50, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(to_guide(probs).numpy(), quantize(probs.numpy()).astype(np.float32) / 255)


def test_flipping_the_image_flips_the_mask_of_a_flipping_predictor(trained: Path) -> None:
    flipping = Predictor(trained, tta="flip")
    image = make_image(64, 96)
    found, mirrored = flipping(image), flipping(np.ascontiguousarray(image[:, ::-1]))
    assert np.allclose(found.mask_probs, mirrored.mask_probs[:, ::-1], atol=1e-5)
    assert list(found.probs.values()) == pytest.approx(list(mirrored.probs.values()), abs=1e-5)
    assert (found.calibrated, found.conformal_set, found.refer) == (False, None, None)


def test_several_models_are_averaged_and_not_calibrated(trained: Path, tmp_path: Path) -> None:
    last = shutil.copy(trained / "checkpoints" / "last.ckpt", tmp_path / "other.ckpt")
    checkpoint = torch.load(last, weights_only=True)
    for name, x in checkpoint["state_dict"].items():
        if x.is_floating_point():
            checkpoint["state_dict"][name] = x * 0.9
    torch.save(checkpoint, last)
    image = make_image(50, 70)
    one, other = Predictor(trained)(image), Predictor(last)(image)
    both = Predictor([trained, last])(image)
    assert one.probs != other.probs
    assert list(both.probs.values()) == pytest.approx(
        [(one.probs[name] + other.probs[name]) / 2 for name in CLASSES], abs=1e-6
    )
    assert np.allclose(both.mask_probs, (one.mask_probs + other.mask_probs) / 2, atol=1e-6)
    assert not both.calibrated
    assert not other.calibrated


def test_a_model_is_not_averaged_with_itself(trained: Path, bundle: Path, tmp_path: Path) -> None:
    """Whichever way it is given again."""
    (tmp_path / "link").symlink_to(trained)
    copy = shutil.copy(trained / "checkpoints" / "best.ckpt", tmp_path / "copy.ckpt")
    for again in (trained, tmp_path / "link", trained / "checkpoints" / "best.ckpt", copy, bundle):
        with pytest.raises(InputError, match=r"one model is given twice \("):
            Predictor([trained, again])


def test_batches_change_nothing(trained: Path) -> None:
    frames = [Frame(make_image(20 + 7 * k, 60), None) for k in range(5)]
    alone = Predictor(trained, batch_size=1).predict(frames)
    for one, two in zip(alone, Predictor(trained, batch_size=3).predict(frames), strict=True):
        assert np.allclose(one.mask_probs, two.mask_probs, atol=1e-5)
        assert list(one.probs.values()) == pytest.approx(list(two.probs.values()), abs=1e-5)


def predicted(mask: Bool[np.ndarray, "h w"], **fields: object) -> Prediction:
    given = {"pred": "benign", "probs": {}, "calibrated": True, "conformal_set": None}
    given |= {"postprocess": Postprocess(), "spacing": None, "milliseconds": 0.0}
    given |= {"mask_probs": mask.astype(np.float32), "image": np.full(mask.shape, 90, np.uint8)}
    return Prediction(**(given | fields))  # type: ignore[arg-type]


def test_mask_is_measured_as_opencv_measures_it() -> None:
    rng = np.random.default_rng(0)
    for share in (0.01, 0.2, 0.6):
        mask = rng.random((40, 55)) < share
        found = predicted(mask, spacing=Spacing(0.5, 0.2))
        assert found.box == cv2.boundingRect(mask.astype(np.uint8))
        assert found.num_components == cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
        assert found.pred_area_mm2 == pytest.approx(mask.sum() * 0.1)
    empty = predicted(np.zeros((3, 4), bool))
    assert (empty.pred_area, empty.box, empty.num_components, empty.pred_area_mm2) == (0, None, 0, None)


def test_a_person_decides_unless_one_class_is_left() -> None:
    mask = np.zeros((2, 2), bool)
    sets: tuple[tuple[str, ...] | None, ...] = ((), ("benign",), ("benign", "malignant"), None)
    assert [predicted(mask, conformal_set=s).refer for s in sets] == [True, False, True, None]


def test_words_stand_below_the_image_and_hide_nothing() -> None:
    for height, width, spacing in ((300, 400, Spacing(0.1, 0.1)), (200, 60, None), (3, 2, None)):
        mask = np.zeros((height, width), bool)
        mask[1:100, 1:50] = True
        found = predicted(mask, probs=dict.fromkeys(CLASSES, 1 / 3), conformal_set=(), spacing=spacing)
        size = f" ({mask.sum() / 100:.1f} mm²)" if spacing else ""
        assert found.words == f"benign 33%, a person should look, mask of {mask.sum()} pixels{size}"
        plain, drawn = (np.asarray(found.overlay(opacity=0.5, words=words)) for words in (False, True))
        np.testing.assert_array_equal(drawn[:height, :width], plain)
        below = drawn[height:]
        assert (below == 255).any()
        # Nothing is cut: there is a margin on each side.
        assert not any(edge.any() for edge in (below[-1], below[0], below[:, 0], below[:, -1]))
        with Image.open(io.BytesIO(found._repr_png_())) as shown:
            np.testing.assert_array_equal(np.asarray(shown), np.asarray(found.overlay(words=True)))
    empty = predicted(np.zeros((9, 9), bool), pred=None, conformal_set=None)
    assert empty.words == "no mask"


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4), np.float32), "uint8"),
        (np.zeros((4, 4, 4), np.uint8), "uint8"),
        (np.zeros((0, 4), np.uint8), "no pixels"),
    ],
)
def test_arrays_of_another_kind_say_so(bundle: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Predictor(bundle)(array)


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_malicious_checkpoint_is_not_executed(trained: Path, tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    torch.save({"busi": {}, "state_dict": Payload(harm)}, tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Payload(harm)))
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.copy(tmp_path / "a.ckpt", run / "checkpoints" / "best.ckpt")
    for source in (tmp_path / "a.ckpt", tmp_path / "b.ckpt", run):
        with pytest.raises(InputError, match="damaged or no checkpoint|not the file that this run wrote"):
            Predictor(source)
    assert not harm.exists()
    pickle.loads(pickle.dumps(Payload(harm)))
    assert harm.exists()


def test_what_is_no_model_says_so(
    trained: Path, fitted: Fitted, configs: Callable[..., DictConfig], tmp_path: Path
) -> None:
    empty = fitted("cls", "guide=empty")
    large = fit(configs("stage=seg", "image_size=64"), tmp_path / "large")
    other = fit(configs("stage=cls", f"seg_ckpt={large.folder}"), tmp_path / "other")
    for source, words in (
        (tmp_path / "gone", "does not exist"),
        (tmp_path, "is not a run folder"),
        (empty.folder, "guide=empty"),
        (other.folder, "a multiple of it"),
    ):
        with pytest.raises(InputError, match=words):
            Predictor(source)
    with pytest.raises(InputError, match="no model given"):
        Predictor([])
    with pytest.raises(InputError, match="tta=mirror: give none or flip"):
        Predictor(trained, tta="mirror")


def test_a_bundle_needs_no_pytorch(bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(make_image(40, 50)).save(tmp_path / "a.png")
    code = (
        "import sys; sys.modules['torch'] = None\n"  # importing it now fails
        f"import busi; print(busi.Predictor({str(bundle)!r})('a.png').pred)\n"
        f"sys.argv[1:] = ['a.png', '--run', {str(bundle)!r}, '--output', 'out']\n"
        "import busi.predict; busi.predict.main()\n"
        # Each takes a good part of the time of predicting an image that does not need it.
        "print({'pydicom', 'scipy', 'rich', 'jaxtyping', 'PIL.ImageFont', 'cv2'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in CLASSES
    assert done.stdout.splitlines()[-1] == "{'cv2'}"
    assert (tmp_path / "out" / "predictions.csv").exists()
