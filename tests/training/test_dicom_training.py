"""Both stages trained on a manifest of DICOM files, and what they say of these files afterwards."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from busi import Predictor
from busi.core.tables import read_table
from busi.core.types import CLASSES
from busi.data.files import read_gray
from busi.data.synthetic import make_synthetic
from busi.inference.predictor import load_model
from busi.runs.predictions import find_records
from busi.runs.run import open_run
from busi.training.fitting import fit
from tests.conftest import SMALL, Compose
from tests.data.test_dicom import region, write


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Files of 12 bits with a window, and of a region of tissue, with masks of the whole image."""
    rows = ["image,label,mask,patient,source,scanner,birads"]
    source = make_synthetic(tmp_path / "drawn", (15, 25, 20), 96, 0)
    for k, path in enumerate(sorted(path for path in source.glob("*/*.png") if "_mask" not in path.name)):
        gray, label = read_gray(path), path.parent.name
        whole = np.pad(gray, 8, constant_values=90)
        height, width = gray.shape
        tissue = region(8, 8, 8 + width - 1, 8 + height - 1)
        tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2040, "WindowWidth": 4080}
        write(
            tmp_path / f"1.2.{k}", whole.astype(np.uint16) * 16, SequenceOfUltrasoundRegions=[tissue], **tags
        )
        masks = (
            sorted(path.parent.glob(f"{path.stem.replace('(', '[(]')}_mask*")) if label != "normal" else []
        )
        for mask in masks:
            Image.fromarray(np.pad(np.asarray(Image.open(mask)), 8)).save(mask)
        rows.append(f"1.2.{k},{label},{';'.join(map(str, masks))},p{k},ours,device,4a")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    return tmp_path / "manifest.csv"


@pytest.mark.slow
def test_a_run_says_of_dicom_files_what_it_said_when_it_was_scored(
    compose: Compose, manifest: Path, tmp_path: Path
) -> None:
    small = [text for text in SMALL if not text.startswith("data")]
    data = ["data=csv", f"data.root={manifest}", "data.num_folds=3"]
    for stage in ("seg", "cls"):
        folder = tmp_path / "outputs" / stage / "run"
        metrics = fit(compose(*small, *data, f"stage={stage}"), folder)
        assert metrics
    run = open_run(folder)
    rows = [row for row in read_table(folder / "predictions.csv") if row["split"] == "test"]
    records, predictor = find_records(run), Predictor(load_model(folder))
    assert {record.source for record in records.values()} == {"ours"}
    assert len(rows) > 10
    for row in rows:
        found = predictor(records[row["id"]].image)
        logits = np.array([float(row[f"logit_{name}"]) for name in CLASSES])
        expected = softmax(logits / predictor.infos[0].temperature)
        assert list(found.probs.values()) == pytest.approx(expected, abs=1e-5)
    by_mask = open_run(tmp_path / "outputs" / "seg" / "run")
    areas = {row["id"]: int(row["area"]) for row in read_table(by_mask.folder / "predictions.csv")}
    assert all(bool(areas[row["id"]]) == (row["label"] != "normal") for row in rows)
