"""System calls refused in bubblewrap, by asking for each of them."""

import platform
import re
import struct
from pathlib import Path

import pytest

from core.errors import SandboxUnavailableError
from tests.tools.sandbox.machine import python, run_plainly
from tools.sandbox.bubblewrap import BubblewrapSandbox
from tools.sandbox.seccomp import CALL_NUMBERS, filter_program
from tools.workspace import StepDirectory

MACHINE = platform.machine()
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
CALLS = """
import ctypes, errno, fcntl, os, sys
libc = ctypes.CDLL(None, use_errno=True)
wrong = [ctypes.c_long(-1)] * 6
for number in map(int, sys.argv[1].split(",")):
    libc.syscall(number, *wrong)
    print(number, errno.errorcode.get(ctypes.get_errno(), 0))
    ctypes.set_errno(0)
"""
OTHERS = """
import ctypes, errno, fcntl, os, threading
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(435, 0, 0), errno.errorcode[ctypes.get_errno()])
for request in (0x5412, 0x541C):
    try:
        fcntl.ioctl(os.openpty()[1], request, b"x")
    except OSError as error:
        print(errno.errorcode[error.errno])
thread = threading.Thread(target=print, args=("threads work",))
thread.start(); thread.join()
import subprocess
print(subprocess.run(["echo", "processes work"], capture_output=True, text=True).stdout)
"""
# Not all are tried outside, where some of them could do harm.
HARMLESS = ("add_key", "keyctl", "bpf", "io_uring_setup", "userfaultfd", "process_vm_readv", "kcmp")


async def run(directory: StepDirectory, code: str, *arguments: str) -> list[str]:
    sandbox = BubblewrapSandbox()
    try:
        await sandbox.probe()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    outcome = await sandbox.run(python(directory, code, *arguments))
    await sandbox.close()
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout.decode().splitlines()


@pytest.mark.skipif(MACHINE not in HEADERS, reason="no table for this architecture")
async def test_every_call_of_the_list_is_refused_and_was_not_before(
    directory: StepDirectory,
) -> None:
    numbers = CALL_NUMBERS[MACHINE]
    lines = await run(directory, CALLS, ",".join(map(str, numbers.values())))
    assert lines == [f"{number} EPERM" for number in numbers.values()]
    harmless = ",".join(str(numbers[name]) for name in HARMLESS)
    assert "EPERM" not in await run_plainly(directory, CALLS, harmless)


@pytest.mark.skipif(MACHINE not in HEADERS, reason="no table for this architecture")
async def test_clone3_is_missing_ioctls_are_refused_and_programs_go_on(
    directory: StepDirectory,
) -> None:
    lines = await run(directory, OTHERS)
    assert lines[:4] == ["-1 ENOSYS", "EPERM", "EPERM", "threads work"]
    assert "processes work" in lines


@pytest.mark.parametrize("machine", list(HEADERS))
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    text = HEADERS[machine].read_text(encoding="utf-8")
    there = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
    named = {name: there[name] for name in CALL_NUMBERS[machine] if name in there}
    assert named == {name: str(CALL_NUMBERS[machine][name]) for name in named}
    assert len(named) > 40


def test_the_program_is_whole_and_every_jump_stays_inside() -> None:
    for machine in HEADERS:
        program = filter_program(machine)
        assert program
        steps = list(struct.iter_unpack("<HBBI", program))
        assert len(steps) < 4096
        for place, (code, if_true, if_false, _) in enumerate(steps):
            if code & 7 == 5:
                assert place + 1 + max(if_true, if_false) < len(steps)
        assert steps[-1] == (0x06, 0, 0, 0x7FFF0000)
    assert filter_program("riscv64") is None
