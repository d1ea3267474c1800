"""A filter of system calls: what no tool's code needs and the kernel was attacked through before.

A program of the classic BPF that seccomp runs on each call, assembled here, so that nothing has to
be installed. Numbers are those of the kernel's ``unistd`` tables of the two architectures.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_X32_BIT = 0x40000000

_NEW_NAMESPACES = 0x7E020000
"""Every CLONE_NEW… flag that clone takes."""

_TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX put input into a terminal as if it had been typed."""

_DENIED: Mapping[str, tuple[int | None, int | None]] = {  # x86_64, aarch64
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "nfsservctl": (180, 42),
}
_CLONE = (56, 220)
_CLONE3 = 435
_IOCTL = (16, 29)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

CALL_NUMBERS: Mapping[str, Mapping[str, int]] = {
    machine: {name: number for name, row in _DENIED.items() if (number := row[column]) is not None}
    for machine, (column, _) in _ARCHITECTURES.items()
}
"""The calls refused outright, by machine."""


@dataclass(frozen=True, slots=True)
class _Step:
    code: int
    operand: int
    if_true: int = 0
    if_false: int = 0

    @property
    def packed(self) -> bytes:
        return struct.pack("<HBBI", self.code, self.if_true, self.if_false, self.operand)


@functools.cache
def filter_program(machine: str = os.uname().machine) -> bytes | None:
    """The program for ``bwrap --seccomp``; None for an architecture that has no table here."""
    if machine not in _ARCHITECTURES:
        return None
    column, architecture = _ARCHITECTURES[machine]
    refused = CALL_NUMBERS[machine].values()
    steps = [
        _Step(_LOAD, _ARCHITECTURE),
        *_unless(_JUMP_EQUAL, architecture, _KILL_PROCESS),
        _Step(_LOAD, _NUMBER),
        # The x32 table shares the architecture and would go round every number below.
        *(_when(_JUMP_AT_LEAST, _X32_BIT, _ERRNO | _ENOSYS) if machine == "x86_64" else ()),
        # Its flags are in memory that a filter cannot read; without it libraries use clone.
        *_when(_JUMP_EQUAL, _CLONE3, _ERRNO | _ENOSYS),
        *(step for number in refused for step in _when(_JUMP_EQUAL, number, _ERRNO | _EPERM)),
        *_argument(_CLONE[column], _FIRST_ARGUMENT, _JUMP_ANY_BIT, (_NEW_NAMESPACES,)),
        *_argument(_IOCTL[column], _SECOND_ARGUMENT, _JUMP_EQUAL, _TERMINAL_INJECTION),
        _Step(_RETURN, _ALLOW),
    ]
    return b"".join(step.packed for step in steps)


def _when(jump: int, operand: int, answer: int) -> tuple[_Step, _Step]:
    return _Step(jump, operand, 0, 1), _Step(_RETURN, answer)


def _unless(jump: int, operand: int, answer: int) -> tuple[_Step, _Step]:
    return _Step(jump, operand, 1, 0), _Step(_RETURN, answer)


def _argument(call: int, argument: int, jump: int, operands: Sequence[int]) -> tuple[_Step, ...]:
    """Denies a call by the low half of one argument; the kernel looks at no more of these two."""
    checks = [step for o in operands for step in _when(jump, o, _ERRNO | _EPERM)]
    body = (_Step(_LOAD, argument), *checks, _Step(_RETURN, _ALLOW))
    return _Step(_JUMP_EQUAL, call, 0, len(body)), *body
