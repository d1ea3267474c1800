"""Ways to break out of a sandbox or to harm its machine, as Python code and how to judge it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.tools.sandbox.machine import ORPHAN, processes_with
from tools.sandbox.base import SandboxOutcome
from tools.workspace import StepDirectory


@dataclass(frozen=True)
class Target:
    """What an attack aims at, on the machine outside the sandbox."""

    directory: StepDirectory
    token: str
    secret: str
    values: dict[str, str | int | list[str]]
    received: list[bytes] = field(default_factory=list[bytes])


Judge = Callable[[Target, SandboxOutcome], bool]
"""Whether the attack worked."""


@dataclass(frozen=True)
class Attack:
    """``plainly``: works without a sandbox and harms nothing, so it is tried there first.

    ``host_reads`` is a name a tool of the host's then reads in the step's directory.
    """

    name: str
    code: str
    judge: Judge
    plainly: bool = False
    host_reads: str | None = None


_PRELUDE = """
import ctypes, json, os, platform, socket, sys
T = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def must(code):
    if code < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return code
def any_of(paths, mode="rb"):
    for path in paths:
        try:
            return open(path, mode).close()
        except OSError as error:
            last = error
    raise last
"""
_REPORT = """
try:
    attempt()
    print("BREACH")
except OSError as error:
    print("held", type(error).__name__)
"""


def _said_breach(_: Target, outcome: SandboxOutcome) -> bool:
    held = b"held" in outcome.stdout or outcome.exit_code >= 128
    assert held or b"BREACH" in outcome.stdout, (outcome.stdout, outcome.stderr)
    return b"BREACH" in outcome.stdout


def _finished(_: Target, outcome: SandboxOutcome) -> bool:
    return b"DONE" in outcome.stdout and outcome.killed is None


def _alive(target: Target, _: SandboxOutcome) -> bool:
    return bool(processes_with(target.token))


def _received(target: Target, _: SandboxOutcome) -> bool:
    return bool(target.received)


def _secret_seen(target: Target, outcome: SandboxOutcome) -> bool:
    return target.secret.encode() in outcome.stdout


def _not_stopped(_: Target, outcome: SandboxOutcome) -> bool:
    return outcome.killed is None


def _try(name: str, body: str, judge: Judge = _said_breach, plainly: bool = True) -> Attack:
    return Attack(name, f"{_PRELUDE}\ndef attempt():\n    {body}\n{_REPORT}", judge, plainly)


def _run(name: str, code: str, judge: Judge) -> Attack:
    return Attack(name, _PRELUDE + code, judge)


_ABSTRACT = 'socket.socket(socket.AF_UNIX).connect("\\0" + T["abstract"])'
_AT_PATH = 'socket.socket(socket.AF_UNIX).connect(T["socket"])'
_UDP = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'query', ('127.0.0.1', T['udp']))"
_KEY = (
    'must(libc.syscall({"x86_64": 248, "aarch64": 217}[platform.machine()],'
    ' b"user", b"battery", b"x", ctypes.c_size_t(1), -2))'
)
_ENVIRONMENTS = """
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        print(open(f"/proc/{pid}/environ", errors="replace").read())
    except OSError:
        continue
"""
_FORK_BOMB = """
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
_MEMORY = """
import time
children = []
for _ in range(T["count"]):
    child = os.fork()
    if child == 0:
        held = bytearray(b"x") * (T["mebibytes"] * 2**20)
        time.sleep(1)
        os._exit(0)
    children.append(child)
if all(os.waitpid(child, 0)[1] == 0 for child in children):
    print("DONE")
"""
_TEMPORARY = """
import time
for place in ("/tmp", "/dev/shm"):
    for number in range(15):
        with open(f"{place}/battery-{number}", "wb") as file:
            file.write(b"x" * (10 * 2**20))
time.sleep(1)
print("DONE")
"""
_MANY_FILES = """
import time
for number in range(40):
    with open(f"file{number}", "wb") as file:
        file.write(b"x" * 2**20)
time.sleep(1)
print("DONE")
"""
_EMPTY_FILES = """
import time
for number in range(8000):
    open(f"file{number}", "w").close()
time.sleep(1)
print("DONE")
"""
_SESSION = """
if os.fork() == 0:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execv("/usr/bin/sleep", ["sleep", T["token"]])
"""
_IGNORES_SIGNALS = """
import signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
time.sleep(60)
"""

KILLED_RUNNER = "the runner is killed with SIGKILL"

ATTACKS = (
    _run("fork bomb", _FORK_BOMB, _alive),
    _run("memory, one process", _MEMORY.replace('T["count"]', "1"), _finished),
    _run("memory, eight processes", _MEMORY.replace('T["mebibytes"]', "40"), _finished),
    _run("memory in /tmp and /dev/shm", _TEMPORARY, _finished),
    _try("read a file in a closed home directory", 'any_of([T["secret_file"]])'),
    _try("read /etc/shadow", 'any_of(["/etc/shadow"])'),
    _try("read MANUS_HOME, the project or its .env", 'any_of(T["ours"])'),
    _run("secrets in any process's environment", _ENVIRONMENTS, _secret_seen),
    _try("write outside the workspace", 'any_of(T["outside"], "wb")'),
    _try("write another step's files", 'any_of([T["sibling"]], "ab")'),
    _try("open /proc/sys for writing", 'any_of(["/proc/sys/vm/swappiness"], "r+b")'),
    _try("open core_pattern for writing", 'any_of(["/proc/sys/kernel/core_pattern"], "r+b")'),
    _try("connect to a loopback port", 'socket.create_connection(("127.0.0.1", T["tcp"]), 2)'),
    _try("connect to an abstract unix socket", _ABSTRACT),
    _try("connect to a unix socket at a path", _AT_PATH),
    _try("send a datagram, as a DNS query is", _UDP, _received),
    _try("signal another process", 'os.kill(T["victim"], 18)'),
    _try("see another process's command line", "any_of([f\"/proc/{T['victim']}/cmdline\"])"),
    _try(
        "ptrace another process",
        'must(libc.ptrace(16, T["victim"], 0, 0)); libc.ptrace(17, T["victim"], 0, 0)',
    ),
    _try("make a user namespace", "must(libc.unshare(0x10000000))"),
    _try("make a mount namespace and mount", "must(libc.unshare(0x20000))"),
    _try("become root", "os.setresuid(0, 0, 0)"),
    _try("make a device node", 'os.mknod("node", 0o60600, os.makedev(8, 0))'),
    _try(
        "open a device of the machine",
        'any_of(["/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/kvm", "/dev/fuse"])',
    ),
    _try("use the kernel's keyring", _KEY),
    _run("a child in a session of its own outlives it", _SESSION, _alive),
    _run(
        "a double-forked daemon outlives it",
        f'sys.argv[1:] = [T["token"]]\n{ORPHAN}',
        _alive,
    ),
    _run(KILLED_RUNNER, "", _alive),
    _run("fill the disk, many files", _MANY_FILES, _finished),
    _run(
        "fill the disk, one file", "open('f', 'wb').write(b'x' * 2**26)\nprint('DONE')", _finished
    ),
    _run("fill the disk, empty files", _EMPTY_FILES, _finished),
    Attack(
        "a link to a secret, for a file tool to follow",
        f'{_PRELUDE}\nos.symlink(T["secret_file"], "bait")',
        _secret_seen,
        host_reads="bait",
    ),
    Attack(
        "a hard link to a secret, for a file tool to read",
        f'{_PRELUDE}\ntry: os.link(T["secret_file"], "bait")\nexcept OSError: pass',
        _secret_seen,
        host_reads="bait",
    ),
    Attack(
        "a FIFO, for a file tool to hang on",
        f'{_PRELUDE}\nos.mkfifo("bait")',
        _secret_seen,
        host_reads="bait",
    ),
    _run("endless output", "while True: print('x' * 500)", _not_stopped),
    _run("endless sleep, deaf to signals", _IGNORES_SIGNALS, _not_stopped),
)


def cleared(directory: Path) -> None:
    """Removes what the memory attack leaves where /tmp is the machine's own."""
    for place in (Path("/tmp"), Path("/dev/shm"), directory):
        for file in place.glob("battery-*"):
            file.unlink()
