"""The wheel, installed beside nothing of the sources."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SMALL

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_wheel_contains_the_configs_and_trains_from_any_folder(tmp_path: Path, cache: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheel")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(place)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    shipped = {path.relative_to(place / "busi" / "conf") for path in place.glob("busi/conf/**/*.yaml")}
    assert shipped == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").glob("**/*.yaml")}

    environment = {**os.environ, "PYTHONPATH": str(place), "BUSI_CACHE": str(cache)}
    where, done = (
        subprocess.run(
            [sys.executable, *arguments], cwd=elsewhere, env=environment, capture_output=True, text=True
        )
        for arguments in (
            ["-c", "import busi; print(busi.__file__)"],
            ["-m", "busi.train", "stage=seg", *SMALL],
        )
    )
    assert where.stdout.startswith(str(place))
    assert done.returncode == 0, done.stderr
    (run,) = (elsewhere / "outputs" / "seg").iterdir()
    assert json.loads((run / "provenance.json").read_text())["finished"]
