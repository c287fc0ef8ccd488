"""Faults: whatever is killed, starved or damaged goes on, and ends as if nothing had happened.

``make faults`` kills ten times in each place, ``make test-slow`` once. Processes are forked from one
that has imported everything, so that kills hit the work and not the imports.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tests.conftest import SMALL
from tests.processes import SERVER, act, start

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("KILLS", "1"))
FAST = (
    *(text for text in SMALL if "max_epochs" not in text),
    "model.network.decoder_channels=[32,16,16,8,8]",
    "data.num_folds=3",
)
Commands = Callable[[Path], list[list[str]]]


def begin(
    arguments: Sequence[str], folder: Path, limit: int | None = None, **environment: str
) -> BaseProcess:
    output = folder / "output.txt"
    return start("busi.train", arguments, folder, (output, output), environment, limit)


def finish(arguments: Sequence[str], folder: Path, limit: int | None = None) -> int:
    """Exit status of a command that is left alone."""
    process = begin(arguments, folder, limit)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def succeed(process: BaseProcess, folder: Path) -> str:
    """Wait for a command that ends well; what it said."""
    process.join()
    output = (folder / "output.txt").read_text()
    assert process.exitcode == 0, output
    return output


def wait_for_first_epoch(process: BaseProcess, run: Path) -> None:
    while process.is_alive() and not (run / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.01)


def kill_after_first_epoch(arguments: Sequence[str], folder: Path, run: Path) -> None:
    process = begin(arguments, folder)
    wait_for_first_epoch(process, run)
    process.kill()
    process.join()
    assert not json.loads((run / "provenance.json").read_text())["finished"]


def say_once(output: str, words: str) -> None:
    """There is one error, with these words, and no traceback."""
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert words in line
    assert "Traceback" not in output


def finished_files(folder: Path, pattern: str) -> Iterator[Path]:
    """Files below a folder, but for temporary ones: a dot begins their name, or that of their folder."""
    for path in sorted(folder.rglob(pattern)):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def results(place: Path) -> dict[str, str]:
    """Fingerprints of what is finished below a folder: weights, metrics, predictions, and the cache."""
    import torch

    found = {}
    for path in finished_files(place, "provenance.json"):
        if json.loads(path.read_text())["finished"]:
            name = str(path.parent.relative_to(place))
            digest = hashlib.sha256()
            for file in ("metrics.json", "predictions.csv"):
                digest.update((path.parent / file).read_bytes())
            weights = torch.load(path.parent / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
            for tensor in weights.values():
                digest.update(tensor.numpy().tobytes())
            found[name] = digest.hexdigest()
    for path in finished_files(place / "cache", "*.*"):
        found[str(path.relative_to(place))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def check_files(place: Path) -> None:
    """Nothing below a folder is half-written, but for temporary files."""
    import torch

    for path in finished_files(place, "*.json"):
        json.loads(path.read_text())
    for path in finished_files(place, "*.ckpt"):
        assert torch.load(path, weights_only=True)["busi"]


def disturb(commands: Commands, folder: Path) -> None:
    """Kill commands at random moments, and start them again; what is finished is as if nobody had.

    Args:
        commands: Those to be given, in turn, for a place, in whatever state it is.
        folder: For the places.
    """
    whole = folder / "whole"
    began = time.monotonic()
    for command in commands(whole):
        succeed(begin(command, whole), whole)
    seconds = time.monotonic() - began
    wanted = results(whole)
    assert wanted
    rng = np.random.default_rng(0)
    num_killed, number = 0, 0
    kept: dict[str, str] = {}
    while num_killed < KILLS:
        place = folder / str(number)
        end = time.monotonic() + rng.uniform(0.05, 0.7) * seconds
        for command in commands(place):
            process = begin(command, place)
            process.join(max(0.0, end - time.monotonic()))
            if killed := process.is_alive():
                process.kill()
                process.join()
                num_killed += 1
                break
            assert process.exitcode == 0, (place / "output.txt").read_text()
        check_files(place)
        found = results(place)
        assert found.items() <= wanted.items()
        assert kept.keys() <= found.keys()
        kept = found
        if not killed:
            assert found == wanted
            number, kept = number + 1, {}
            seconds *= 0.8  # the machine is less busy than it was
    for command in commands(place):
        succeed(begin(command, place), place)
    assert results(place) == wanted


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a fast run whose cache is there."""
    folder = tmp_path_factory.mktemp("ready")
    overrides = [*FAST, f"cache_dir={folder}/cache"]
    succeed(begin([*overrides, "trainer.max_epochs=1"], folder), folder)
    return overrides


@pytest.fixture(scope="module")
def uninterrupted(ready: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Results of the run that `one` describes."""
    place = tmp_path_factory.mktemp("uninterrupted")
    assert finish(one(ready), place) == 0
    return results(place)


def one(ready: list[str]) -> list[str]:
    return ["stage=seg", *ready, "trainer.max_epochs=3", "hydra.run.dir=run"]


def test_training_is_killed(ready: list[str], tmp_path: Path) -> None:
    def commands(place: Path) -> list[list[str]]:
        run = place / "run"
        if (run / "provenance.json").exists():
            return [[f"resume={run}"]]
        return [["stage=seg", *ready, "trainer.max_epochs=6", f"hydra.run.dir={run}"]]

    disturb(commands, tmp_path)


def test_sweep_is_killed(ready: list[str], tmp_path: Path) -> None:
    sweep = ["-m", "stage=seg", *ready, "trainer.max_epochs=2", "hydra.sweep.dir=sweep"]
    disturb(lambda _: [[*sweep, "optimizer.lr=0.001,0.003"]], tmp_path)


def test_making_of_the_cache_is_killed(tmp_path: Path) -> None:
    """The folder of the run is new each time: the cache alone goes on."""

    def commands(place: Path) -> list[list[str]]:
        shutil.rmtree(place / "run", ignore_errors=True)
        small = ["trainer.max_epochs=1", "data.subset=4", "data.read.height=160"]
        return [["stage=seg", *FAST, *small, "hydra.run.dir=run", "cache_dir=cache"]]

    disturb(commands, tmp_path)


def test_crossval_is_killed(ready: list[str], tmp_path: Path) -> None:
    every = [*(text for text in ready if "decoder" not in text), "trainer.max_epochs=1", "data.fold=0,1"]
    every += ["test=true", "reuse=true", "output_dir=crossval"]

    def commands(_: Path) -> list[list[str]]:
        return [
            ["-m", f"stage={stage}", *every, f"hydra.sweep.dir=crossval/{stage}"] for stage in ("seg", "cls")
        ]

    disturb(commands, tmp_path)


def test_one_of_two_workers_of_a_search_is_killed(ready: list[str], tmp_path: Path) -> None:
    num_trials = 3 * KILLS
    command = ["-m", "search=optuna_seg", *ready, "trainer.max_epochs=2", "~model.network.decoder_channels"]
    command += ["optimizer.lr=0.001,0.003", "~optimizer.weight_decay", "~loss.dice_weight"]
    command += ["augmentation=light", "scheduler=cosine", f"hydra.sweeper.num_trials={num_trials}"]
    rng = np.random.default_rng(0)
    other = begin(command, tmp_path)
    for _ in range(KILLS):
        process = begin(command, tmp_path)
        process.join(rng.uniform(1, 8))
        process.kill()
        process.join()
    succeed(other, tmp_path)
    succeed(begin(command, tmp_path), tmp_path)
    folder = tmp_path / "outputs" / "sweeps" / "optuna_seg"
    trials = optuna.load_study(study_name="optuna_seg", storage=f"sqlite:///{folder}/study.db").trials
    assert len(trials) == num_trials
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    values: dict[str, set[float | None]] = {}
    for trial in trials:
        if trial.state == TrialState.FAIL:  # killed while it got its parameters
            assert not trial.params
            continue
        provenance = json.loads((folder / str(trial.number) / "provenance.json").read_text())
        assert provenance["finished"]
        assert provenance["monitored"] == trial.value
        values.setdefault(trial.params["optimizer.lr"], set()).add(trial.value)
    assert all(len(same) == 1 for same in values.values())


def test_run_that_was_damaged_or_tampered_with(
    ready: list[str], uninterrupted: dict[str, str], tmp_path: Path
) -> None:
    run, said = tmp_path / "run", tmp_path / "output.txt"
    kill_after_first_epoch(one(ready), tmp_path, run)

    def refuse(path: Path, change: Callable[[bytes], bytes], words: str) -> None:
        content = path.read_bytes()
        path.write_bytes(change(content))
        said.unlink()
        assert finish([f"resume={run}"], tmp_path) == 1
        say_once(said.read_text(), words)
        path.write_bytes(content)

    refuse(run / "checkpoints" / "last.ckpt", lambda content: content[:-1000], "last.ckpt is damaged")
    (tmp_path / "evil.py").write_text("open('touched', 'w')")
    foreign = (b"_target_: torch.optim.AdamW", b"_target_: evil.AdamW")
    refuse(run / "config.yaml", lambda content: content.replace(*foreign), "config.yaml is not that of")
    assert not (tmp_path / "touched").exists()
    (run / "checkpoints" / "last.ckpt").unlink()
    assert finish([f"resume={run}"], tmp_path) == 0
    assert results(tmp_path) == uninterrupted


def test_truncated_cache(ready: list[str], uninterrupted: dict[str, str], tmp_path: Path) -> None:
    (cache,) = [Path(text.removeprefix("cache_dir=")) for text in ready if text.startswith("cache_dir=")]
    shutil.copytree(cache, tmp_path / "damaged")
    files = [p for p in (tmp_path / "damaged").rglob("[!.]*") if p.is_file() and "synthetic" not in p.parts]
    assert {path.suffix for path in files} == {".npy", ".npz", ".json"}
    for path in files:
        path.write_bytes(path.read_bytes()[:-20])
    assert finish([*one(ready), f"cache_dir={tmp_path}/damaged"], tmp_path) == 0
    assert "it is damaged" in (tmp_path / "output.txt").read_text()
    assert results(tmp_path) == uninterrupted


@pytest.mark.parametrize("folder", ["hydra.run.dir=run", "output_dir=outputs"])
def test_two_starts_in_the_same_second(ready: list[str], tmp_path: Path, folder: str) -> None:
    command = ["stage=seg", *ready, "trainer.max_epochs=2", folder]
    first, second = begin(command, tmp_path), begin(command, tmp_path)
    first.join()
    second.join()
    runs = [json.loads(path.read_text()) for path in tmp_path.rglob("provenance.json")]
    assert all(run["finished"] for run in runs)
    assert len(set(results(tmp_path).values())) == 1
    if len(runs) == 2:  # a second began between them, and so the default folders differ
        assert folder.startswith("output_dir")
        assert (first.exitcode, second.exitcode) == (0, 0)
        return
    assert {first.exitcode, second.exitcode} == {0, 1}
    say_once((tmp_path / "output.txt").read_text(), "another")


def test_file_that_grows_too_large(ready: list[str], uninterrupted: dict[str, str], tmp_path: Path) -> None:
    assert finish(one(ready), tmp_path, limit=10**6) == 1
    say_once((tmp_path / "output.txt").read_text(), "cannot write any more: File too large. Make room")
    check_files(tmp_path)
    assert results(tmp_path) == {}
    assert finish([f"resume={tmp_path}/run"], tmp_path) == 0
    assert results(tmp_path) == uninterrupted


def test_no_room_for_the_cache(ready: list[str], uninterrupted: dict[str, str], tmp_path: Path) -> None:
    command = [*one(ready), f"cache_dir={tmp_path}/new"]
    assert finish(command, tmp_path, limit=60_000) == 1
    say_once((tmp_path / "output.txt").read_text(), "cannot write any more: File too large. Make room")
    assert finish(command, tmp_path) == 0
    assert results(tmp_path) == uninterrupted


class WandbServer(BaseHTTPRequestHandler):
    """As much of W&B's server as makes a run start and log."""

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers["Content-Length"])).decode()
        project = {"id": "1", "name": "busi", "entity": {"id": "1", "name": "me"}}
        run = {"id": "1", "name": "run1", "displayName": "run", "project": project}
        answers = {
            "query Viewer": {"viewer": {"id": "1", "entity": "me", "flags": "{}", "teams": {"edges": []}}},
            "mutation UpsertBucket": {"upsertBucket": {"bucket": run, "inserted": True}},
        }
        data = next((answer for word, answer in answers.items() if word in query), {})
        content = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_wandb_is_unreachable_in_the_middle(
    ready: list[str], uninterrupted: dict[str, str], tmp_path: Path
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), WandbServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process = begin(
        [*one(ready), "logger=wandb", "logger.wandb.finish_timeout=3"],
        tmp_path,
        WANDB_BASE_URL=f"http://127.0.0.1:{server.server_port}",
        WANDB_API_KEY="x" * 40,
    )
    wait_for_first_epoch(process, tmp_path / "run")
    server.shutdown()
    server.server_close()
    assert "wandb sync" in succeed(process, tmp_path)
    assert results(tmp_path) == uninterrupted


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Mount a small disk in memory, which is seen in a namespace of its own, and run commands in there."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    folder.mkdir()
    script = f'mount -t tmpfs -o {options} disk "$0" && echo && exec sleep 600'
    keeper = subprocess.Popen([*unshare, "sh", "-c", script, str(folder)], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    keeper.stdout.readline()

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--user", "--mount", f"--target={keeper.pid}", "--preserve-credentials"]
        inside = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder.parent)]
        return subprocess.run([*enter, *inside, *command], capture_output=True, text=True, check=False)

    try:
        yield run
    finally:
        keeper.kill()
        keeper.wait()


class Disk:
    """A disk whose writes wait in memory until they are flushed, in a process that loses its power.

    Args:
        folder: Whose files are looked after.
        moment: The flush after which the power goes; what the disk has then is in ``after``, beside `folder`.
    """

    def __init__(self, folder: Path, moment: int) -> None:
        self.folder, self.moment, self.num_flushes, self.num_saved = folder, moment, 0, 0
        self.files: dict[int, bytes] = {}  # inode -> content
        self.folders: dict[int, dict[str, tuple[int, bool]]] = {}  # inode -> names: inode, whether a folder
        self.fsync = os.fsync
        os.fsync = self.flush  # type: ignore[assignment]

    def flush(self, handle: int) -> None:
        self.fsync(handle)
        place, inode = Path(f"/proc/self/fd/{handle}"), os.fstat(handle).st_ino
        if place.is_dir():
            with os.scandir(place) as found:
                self.folders[inode] = {x.name: (x.inode(), x.is_dir(follow_symlinks=False)) for x in found}
        else:
            self.files[inode] = place.read_bytes()
        self.num_flushes += 1
        if self.num_flushes == self.moment:
            self.restore(self.folder.stat().st_ino, self.folder.with_name("after"))
            self.note()
            os._exit(9)

    def restore(self, inode: int, to: Path) -> None:
        to.mkdir()
        for name, (below, is_folder) in self.folders.get(inode, {}).items():
            if is_folder:
                self.restore(below, to / name)
            else:
                (to / name).write_bytes(self.files.get(below, b""))

    def note(self) -> None:
        numbers = {"flushes": self.num_flushes, "saved": self.num_saved}
        self.folder.with_name("numbers.json").write_text(json.dumps(numbers))


def act_until_power_cut(arguments: Sequence[str], folder: Path, moment: int) -> None:
    """What a forked process does: the command, until the power goes."""
    from busi.runs.checkpoints import WholeCheckpointIO

    disk, save = Disk(folder, moment), WholeCheckpointIO.save_checkpoint

    def counted(self: WholeCheckpointIO, checkpoint: dict[str, object], path: str, **rest: object) -> None:
        save(self, checkpoint, path, **rest)
        disk.num_saved += Path(path).name == "last.ckpt"

    WholeCheckpointIO.save_checkpoint = counted  # type: ignore[method-assign, assignment]
    try:
        act("busi.train", arguments, folder, (folder / "output.txt",) * 2, os.environ.copy(), None)
    finally:
        disk.note()


def test_power_cut(ready: list[str], uninterrupted: dict[str, str], tmp_path: Path) -> None:
    """Whatever was not flushed is lost, at any moment; it costs no more than an epoch."""
    import torch

    def train(place: Path, moment: int) -> int | None:
        place.mkdir(parents=True)
        process = SERVER.Process(target=act_until_power_cut, args=(one(ready), place, moment))
        process.start()
        process.join()
        return process.exitcode

    whole = tmp_path / "whole" / "place"
    assert train(whole, 0) == 0, (whole / "output.txt").read_text()
    total = json.loads(whole.with_name("numbers.json").read_text())["flushes"]
    assert total > 20
    rng = np.random.default_rng(0)
    for number, moment in enumerate(rng.integers(1, total, KILLS + 2).tolist()):
        place = tmp_path / str(number) / "place"
        assert train(place, moment) == 9
        shutil.rmtree(place)
        place.with_name("after").rename(place)
        check_files(place)
        run = place / "run"
        started = (run / "provenance.json").exists()
        saved = json.loads(place.with_name("numbers.json").read_text())["saved"]
        if saved:
            assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] >= saved - 1
        command = [f"resume={run}"] if started else one(ready)
        succeed(begin(command, place), place)
        assert results(place) == uninterrupted


def act_without_locks(arguments: Sequence[str], folder: Path) -> None:
    """What a forked process does: the command, on a file system without locks."""
    import errno
    import fcntl

    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.lockf = lockf
    act("busi.train", arguments, folder, (folder / "output.txt",) * 2, os.environ.copy(), None)


def test_no_locks(ready: list[str], uninterrupted: dict[str, str], tmp_path: Path) -> None:
    process = SERVER.Process(target=act_without_locks, args=(one(ready), tmp_path))
    process.start()
    words = "has no locks (No locks available): start one process at a time there"
    assert words in succeed(process, tmp_path)
    assert results(tmp_path) == uninterrupted


def test_little_shared_memory(ready: list[str], tmp_path: Path) -> None:
    """Loader processes that lack it end the run with one line; none waits for ever."""
    unchecked = (
        "import runpy, busi.training.first_step as step; step.check_shared_memory = lambda *_: None; "
        "runpy.run_module('busi.train', run_name='__main__', alter_sys=True)"
    )
    with mounted(tmp_path / "disk", "size=1m") as run:
        assert run("mount", "-t", "tmpfs", "-o", "size=100k", "shm", "/dev/shm").returncode == 0
        for python, words in (
            (["-m", "busi.train"], "data.num_workers=2 needs"),
            (["-c", unchecked], "loader processes ran out of shared memory"),
        ):
            command = [*one(ready), "data.num_workers=2", f"hydra.run.dir={tmp_path}/{python[0]}"]
            done = run("timeout", "300", sys.executable, *python, *command)
            assert done.returncode == 1, done.stderr
            say_once(done.stderr, words)


def test_full_disk(ready: list[str], uninterrupted: dict[str, str], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    train = [sys.executable, "-m", "busi.train"]
    with mounted(disk, "size=3m") as run:
        done = run(*train, *one(ready), f"hydra.run.dir={disk}/run")
        assert done.returncode == 1, done.stderr
        say_once(done.stderr, "cannot write any more: No space left on device. Make room")
        assert run("mount", "-o", "remount,size=1g", str(disk)).returncode == 0
        done = run(*train, f"resume={disk}/run")
        assert done.returncode == 0, done.stderr
        run("cp", "-r", f"{disk}/run", str(tmp_path / "run"))
    assert results(tmp_path) == uninterrupted


def test_read_only_outputs(ready: list[str], tmp_path: Path) -> None:
    with mounted(tmp_path / "outputs", "ro,size=1m") as run:
        for command in (["stage=seg"], ["-m", "stage=seg", "seed=0,1"]):
            done = run(sys.executable, "-m", "busi.train", *command, *ready)
            assert done.returncode == 1
            say_once(done.stderr, "Read-only file system. Give another folder")
