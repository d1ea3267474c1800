"""What of this machine a sandboxed command may see, and the few variables it starts with."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

SYSTEM_DIRECTORIES = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Beside /usr: links into it on a merged system, directories elsewhere."""

ETC_FILES = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
)

_LIBRARY = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
_THREADS = "2"
"""Numeric libraries start one thread per core by default, in every one of the parallel runs."""


@functools.cache
def interpreter_trees() -> tuple[Path, ...]:
    """Directories the interpreter and its packages live in, outermost first, without /usr.

    Besides the two prefixes these are the places that the environment's ``python`` links through.
    """
    through = [p.parent.parent for p in _links(Path(sys.executable)) if p.parent.name == "bin"]
    candidates = [Path(sys.base_prefix), Path(sys.prefix)]
    candidates += [p for p in through if (p / _LIBRARY).is_dir()]
    trees: list[Path] = []
    for tree in sorted({p.absolute() for p in candidates}, key=lambda p: len(p.parts)):
        if not any(tree.is_relative_to(known) for known in [Path("/usr"), *trees]):
            trees.append(tree)
    return tuple(tree for tree in trees if tree != Path("/"))


def _links(path: Path) -> list[Path]:
    """A path and every path its link, and that link's link, point to."""
    chain = [path]
    while chain[-1].is_symlink() and len(chain) < 40:
        chain.append(Path(os.path.normpath(chain[-1].parent / chain[-1].readlink())))
    return chain


def base_environment(home: str, temporary: str) -> Mapping[str, str]:
    """Variables of every command: nothing of ours but where Python is."""
    binaries = dict.fromkeys((os.path.dirname(sys.executable), f"{sys.base_prefix}/bin"))
    return {
        "PATH": ":".join((*binaries, "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": home,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": _THREADS,
        "OPENBLAS_NUM_THREADS": _THREADS,
    }


def argv_elsewhere(argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command line for another machine, whose Python finds its packages by ``site``."""
    if argv[0] != sys.executable:
        return argv
    return ("python3", *(argument for argument in argv[1:] if argument != "-S"))
