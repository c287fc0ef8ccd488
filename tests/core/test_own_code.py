"""Code of the user's own that cannot be built is one line that says what is wrong with it."""

from collections.abc import Iterator

import pytest

from busi.core.own_code import find_own
from busi.core.types import InputError

FILES = {
    "own_alpha/__init__.py": "",
    "own_alpha/nets.py": "class SmallNet:\n    class Inner:\n        pass\n",
    "own_alpha/broken.py": "class Net(:\n",
    "own_alpha/needy.py": "import no_such_library_at_all\n",
    "own_alpha/angry.py": "raise RuntimeError('not\\ntoday')\n",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(place)
        yield


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("own_beta.Net", "there is no module own_beta, neither in this folder"),
        ("own_alpha.nets.SmalNet", "own_alpha.nets has no SmalNet: did you mean own_alpha.nets.SmallNet"),
        ("own_alpha.nest.SmallNet", "own_alpha has no nest"),
        ("own_alpha.broken.Net", "own_alpha.broken cannot be imported: SyntaxError: .*broken.py, line 1"),
        ("own_alpha.needy.Net", "cannot be imported: ModuleNotFoundError: No module named 'no_such_library"),
        ("own_alpha.angry.Net", "own_alpha.angry cannot be imported: RuntimeError: not today$"),
    ],
)
def test_what_is_wrong_with_own_code_is_one_line(target: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        find_own("model.network", target)
    assert str(refused.value).startswith(f"model.network._target_={target}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("target", ["own_alpha.nets.SmallNet", "own_alpha.nets.SmallNet.Inner"])
def test_own_code_that_is_there_is_found(target: str) -> None:
    find_own("model.network", target)
