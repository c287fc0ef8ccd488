"""What leaves the machine: nothing, as a trace of the system calls of each command shows."""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from busi.core.silence import SWITCHES
from busi.data.synthetic import make_synthetic
from busi.inference import demo_server
from tests.conftest import SMALL
from tests.inference.test_predictor import make_image
from tests.test_demo import open_by_name, send_image

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "network.md"
PRETRAINED = ROOT / "busi" / "inference" / "pretrained"
WAIT = 15
"""Seconds after which ONNX Runtime, which waits for some before it calls its server, has called."""

SENDING = ("connect", "sendto", "sendmsg", "sendmmsg", "bind")
DNS_PORTS = (53, 853, 5353)
RESOLVERS = ("systemd/resolve/", "avahi-daemon/")
"""In the paths of sockets whose other end looks up names for this process."""
NSCD_HOSTS = r'sendto\(\d+, "\\2\\0\\0\\0\\(?:[4567]|r|16)\\0'
"""Requests to nscd for a host (others ask for users and groups), as strace prints them."""


def whole_calls(trace: str) -> Iterator[str]:
    """The system calls of a trace, with those put together that another thread interrupted."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>")
        elif resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            yield begun.pop(pid, "") + resumed[1]
        else:
            yield call
    yield from begun.values()


def leaves(call: str) -> bool:
    """Whether a system call looks up a name, sends to another computer, or waits to be called by one.

    - Netlink sockets are answered by the kernel: programs read the addresses of this machine there.
    - Port 53 counts on the loopback too, where resolvers listen that ask others.
    - A Unix socket that does not exist (``= -1``) was asked for nothing.
    """
    if re.match(NSCD_HOSTS, call):
        return True
    name, families = call.partition("(")[0], re.findall(r"sa_family=(\w+)", call)
    if name not in SENDING or not families:
        return False
    if families[0] == "AF_UNIX":
        return name != "bind" and " = -1 " not in call and any(path in call for path in RESOLVERS)
    if families[0] in ("AF_NETLINK", "AF_UNSPEC"):
        return False
    addresses = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', call)
    ports = [int(port) for port in re.findall(r"sin6?_port=htons\((\d+)\)", call)]
    if not addresses:
        return True  # of a family that is not known here
    where = [ipaddress.ip_address(four or six) for four, six in addresses]
    plain = [getattr(address, "ipv4_mapped", None) or address for address in where]
    if name == "bind":
        return any(port and not address.is_loopback for port, address in zip(ports, plain, strict=True))
    return any(port in DNS_PORTS for port in ports) or not all(address.is_loopback for address in plain)


LEAVING = [
    'connect(8, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.255.255.53")}, 16) = 0',
    'connect(8, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0',
    'connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = -1 EINTR',
    "connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "
    '"2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 EINPROGRESS (Operation now in progress)',
    'sendto(5, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.1")}, 16) = 1',
    'sendmsg(5, {msg_name={sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.1")}}, 0) = 3',
    'connect(3, {sa_family=AF_UNIX, sun_path="/run/systemd/resolve/io.systemd.Resolve"}, 42) = 0',
    'sendto(3, "\\2\\0\\0\\0\\16\\0\\0\\0\\f\\0\\0\\0example.org\\0", 24, MSG_NOSIGNAL, NULL, 0) = 24',
    'bind(3, {sa_family=AF_INET, sin_port=htons(7860), sin_addr=inet_addr("0.0.0.0")}, 16) = 0',
    "connect(3, {sa_family=AF_VSOCK, svm_cid=VMADDR_CID_HOST, svm_port=0x50}, 16) = 0",
]
STAYING = [
    'connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT',
    'connect(3, {sa_family=AF_UNIX, sun_path="/run/systemd/resolve/io.systemd.Resolve"}, 42) = -1 ENOENT',
    'sendto(3, "\\2\\0\\0\\0\\1\\0\\0\\0\\2\\0\\0\\0000\\0", 14, MSG_NOSIGNAL, NULL, 0) = 14',
    'connect(9, {sa_family=AF_INET, sin_port=htons(7911), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
    'connect(9, {sa_family=AF_INET6, sin6_port=htons(9), inet_pton(AF_INET6, "::ffff:127.0.0.1", &x)}, 9)',
    'bind(3, {sa_family=AF_INET6, sin6_port=htons(0), inet_pton(AF_INET6, "::1", &sin6_addr)}, 28) = 0',
    "sendto(4, [{nlmsg_len=20}], 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20",
    "socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP) = 8",
    'sendto(11, "\\0", 1, 0, NULL, 0) = 1',
    'recvfrom(8, "", 9, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.1")}, 16) = 5',
    "+++ exited with 0 +++",
]


@pytest.mark.parametrize("call", LEAVING)
def test_a_call_that_leaves_is_found(call: str) -> None:
    assert leaves(call)
    begun, equals, ended = call.rpartition(") = ")
    trace = f"7 {begun} <unfinished ...>\n8 close(3) = 0\n7 <... x resumed>{equals}{ended}"
    assert [leaves(one) for one in whole_calls(trace)] == [False, True]


@pytest.mark.parametrize("call", STAYING)
def test_a_call_that_stays_is_let_be(call: str) -> None:
    assert not leaves(call)


class Tracer:
    """Runs programs with the switches unset, as a new user would, and keeps what they say to the network.

    Args:
        folder: For everything that they write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        asked = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TF_BUILD", "BUSI_ROOT", *SWITCHES)
        self.environment = {name: value for name, value in os.environ.items() if name not in asked}
        self.environment |= {
            "BUSI_CACHE": str(folder / "cache"),
            "HOME": str(folder),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
        }

    def command(self, *arguments: object) -> list[str]:
        """A Python program, traced."""
        strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=network", "-o", str(self.log)]
        return [*strace, sys.executable, *map(str, arguments)]

    @property
    def log(self) -> Path:
        """What strace writes."""
        return self.folder / "trace"

    def run(self, *arguments: object) -> list[str]:
        """Run a Python program, and return its calls that leave the machine."""
        command = self.command(*arguments)
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return self.read()

    def read(self) -> list[str]:
        """The calls of the last program that leave the machine."""
        return [call for call in whole_calls(self.log.read_text(errors="replace")) if leaves(call)]


@pytest.fixture(scope="module")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Tracer:
    if sys.platform != "linux":
        pytest.skip("strace is of Linux")
    if shutil.which("strace") is None:
        pytest.fail("no strace: make strace")
    tracer = Tracer(tmp_path_factory.mktemp("network"))
    allowed = subprocess.run(tracer.command("-c", ""), capture_output=True, text=True, check=False)
    if allowed.returncode:
        pytest.skip(f"strace may not trace here: {allowed.stderr.strip()}")
    return tracer


@pytest.fixture(scope="module")
def runs(tracer: Tracer) -> dict[str, Path]:
    """A run of each stage, trained under the trace."""
    folders = {stage: tracer.folder / "outputs" / stage / "run" for stage in ("seg", "cls")}
    for stage, folder in folders.items():
        logger = ["logger=wandb", "logger.wandb.offline=true"] if stage == "cls" else []
        small = [value for value in SMALL if not value.startswith("encoder")]  # the default ones
        told = [f"stage={stage}", "data.num_folds=3", f"hydra.run.dir={folder}", *small, *logger]
        assert tracer.run("-m", "busi.train", *told) == []
    return folders


@pytest.fixture(scope="module")
def image(tracer: Tracer) -> Path:
    path = tracer.folder / "scan.png"
    Image.fromarray(make_image(60, 80)).save(path)
    return path


@pytest.mark.slow
def test_the_trace_sees_what_leaves(tracer: Tracer) -> None:
    """No packet does: connecting a datagram socket sends none, and the loopback has no DNS server of ours."""
    lines = """
        import socket, subprocess, sys, threading
        def connect(address, family=socket.AF_INET):
            with socket.socket(family, socket.SOCK_DGRAM) as one:
                try:
                    one.connect(address)
                except OSError:
                    pass
        connect(("127.0.0.1", 9))
        connect(("192.0.2.1", 9))
        threading.Thread(target=connect, args=(("127.0.0.1", 53),)).start()
        connect(("2001:db8::1", 9), socket.AF_INET6)
        if len(sys.argv) == 1:
            subprocess.run([sys.executable, __file__, "child"])
    """
    (tracer.folder / "leave.py").write_text(textwrap.dedent(lines))
    found = tracer.run("leave.py")
    for address in ("192.0.2.1", "127.0.0.1", "2001:db8::1"):
        assert sum(f'"{address}"' in call for call in found) == 2


@pytest.mark.slow
def test_training_says_nothing(runs: dict[str, Path]) -> None:
    for folder in runs.values():  # traced when they were trained
        assert (folder / "metrics.json").is_file()
    assert list(runs["cls"].glob("wandb/offline-run-*"))


@pytest.mark.slow
def test_processes_of_one_run_meet_on_this_machine_alone(tracer: Tracer) -> None:
    """Nobody else can connect. PyTorch asks for the name of 127.0.0.1, which the page says."""
    small = [*SMALL, "stage=seg", "data.num_folds=3", "trainer.devices=2", "hydra.run.dir=outputs/two"]
    found = tracer.run("-m", "busi.train", *small)
    assert [call for call in found if "htons(53)" not in call] == []


@pytest.mark.slow
def test_commands_on_a_run_say_nothing(tracer: Tracer, runs: dict[str, Path], image: Path) -> None:
    data = make_synthetic(tracer.folder / "data", (12, 14, 14), 96, 7)
    cls = runs["cls"]
    for name, arguments in {
        "predict": (image, "--run", cls, "--output", "answers"),
        "evaluate": (cls, "--data", data, "--output", "evaluation"),
        "report": (*runs.values(), "--partial", "--output", "report"),
        "audit": (data, "--output", "audit"),
        "export": (cls, "--output", "bundle"),
        "ensemble": ("--help",),
        "bench": ("--help",),
    }.items():
        assert tracer.run("-m", f"busi.{name}", *arguments) == [], name
    assert tracer.run("-m", "busi.predict", image, "--output", "again", "--run", "bundle") == []
    assert telemetry_files(tracer) == []


@pytest.mark.slow
def test_predicting_with_the_model_that_comes_along_says_nothing(tracer: Tracer, image: Path) -> None:
    assert tracer.run("-m", "busi.predict", image, "--output", "out") == []
    program = f"import time, busi; print(busi.Predictor()({str(image)!r})); time.sleep({WAIT})"
    assert tracer.run("-c", program) == []
    lines = f"""
        import runpy, sys, time
        sys.argv = ["example.py", {str(image)!r}]
        runpy.run_path({str(PRETRAINED / "example.py")!r}, run_name="__main__")
        time.sleep({WAIT})
    """
    assert tracer.run("-c", textwrap.dedent(lines)) == []
    assert (tracer.folder / f"{image.stem}_mask.png").is_file()
    assert telemetry_files(tracer) == []


@pytest.mark.slow
@pytest.mark.parametrize("source", ["bundle", "run"])
def test_the_demo_says_nothing(tracer: Tracer, source: str, request: pytest.FixtureRequest) -> None:
    runs = request.getfixturevalue("runs") if source == "run" else {}
    given = ["--run", runs["cls"]] if runs else []
    command = tracer.command("-u", "-m", "busi.demo", "--port", "0", *given)
    with subprocess.Popen(
        command, cwd=tracer.folder, env=tracer.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        opened = next(line for line in process.stdout or () if "Open http" in line)
        url = re.findall(r"http://\S+", opened)[0]
        assert '"success":true' in open_by_name(url, send_image(url).json()[0])
        time.sleep(WAIT)
        (traced,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(traced), 15)
        process.communicate()
    assert process.returncode == 0
    assert tracer.read() == []
    assert telemetry_files(tracer) == []


def telemetry_files(tracer: Tracer) -> Sequence[Path]:
    """What ONNX Runtime writes for its telemetry as soon as it is imported."""
    return [
        path for path in tracer.folder.rglob("*") if path.suffix == ".ses" or path.name == "onnxruntime.db"
    ]


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    told = {name: value for name, value in os.environ.items() if name not in SWITCHES} | environment
    return subprocess.run(
        [sys.executable, "-c", program], env=told, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("value", [None, "", "0", "no"])
def test_importing_busi_sets_every_switch_whatever_it_was(value: str | None) -> None:
    program = "import busi, os; print({name: os.environ.get(name) for name in os.environ})"
    before = {} if value is None else dict.fromkeys(SWITCHES, value)
    done = run_python(program, **before)
    assert SWITCHES.items() <= eval(done.stdout).items()
    assert done.stderr == ""


def test_onnxruntime_imported_without_its_switch_is_stopped_with_a_warning() -> None:
    program = "import onnxruntime as o; o.disable_telemetry_events = lambda: print('stopped'); import busi"
    late = run_python(program)
    assert late.stdout == "stopped\n"
    assert "RuntimeWarning: onnxruntime was imported before busi" in late.stderr
    silent = run_python(program, ORT_DISABLE_TELEMETRY="1")
    assert (silent.stdout, silent.stderr) == ("", "")


def test_the_page_lists_every_switch() -> None:
    text = PAGE.read_text()
    for name, value in {**SWITCHES, **demo_server.SWITCHES}.items():
        assert f"`{name}={value}`" in text
