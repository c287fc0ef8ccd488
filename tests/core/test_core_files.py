"""Files written whole, locks, and the folder of the cache."""

from pathlib import Path

import hydra
import pytest

from busi.core.files import conf_dir, default_cache_dir, hold, read_kept, write_json, writing_to
from busi.core.types import InputError


@pytest.mark.parametrize("value", [None, "~/elsewhere", "/somewhere/cache"])
def test_config_and_commands_have_the_same_cache(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("BUSI_CACHE", raising=False)
    else:
        monkeypatch.setenv("BUSI_CACHE", value)
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        composed = hydra.compose("train")
    assert Path(composed.cache_dir).expanduser() == default_cache_dir()


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"), hold(tmp_path / "file" / "run"):
        pass


def test_what_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    words = rf"cannot write to {tmp_path}: Is a directory\. Give another folder"
    with pytest.raises(InputError, match=words), writing_to(tmp_path):
        tmp_path.write_text("x")


@pytest.mark.parametrize("content", [None, "", "[1, 2"])
def test_kept_file_that_is_missing_or_damaged_is_made_again(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert read_kept(path) is None
    assert read_kept(write_json(path, [1, 2])) == [1, 2]
