"""Every attack against every backend, and against none, so that each is known to be one."""

import os
import secrets
from pathlib import Path

import pytest

from core.errors import SandboxUnavailableError
from tests.tools.sandbox.attacks import ATTACKS
from tests.tools.sandbox.battery import BACKENDS, SECRET_VARIABLE, escapes, targets, works_plainly
from tests.tools.sandbox.machine import PROJECT

SECURITY = PROJECT / "docs" / "security.md"
KNOWN = {
    # Run by root it stays uid 0, without the capabilities that would make it count.
    "sandlock": ["become root"] if os.geteuid() == 0 else [],
}


@pytest.mark.parametrize("backend", ["bubblewrap", "sandlock"])
async def test_nothing_gets_out(backend: str) -> None:
    sandbox = BACKENDS[backend]()
    try:
        await sandbox.probe()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    assert await escapes(sandbox) == KNOWN.get(backend, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may do all of these outside as well")
async def test_without_a_sandbox_these_attacks_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = secrets.token_hex()
    monkeypatch.setenv(SECRET_VARIABLE, secret)
    async with targets(tmp_path, secret) as target:
        plain = [attack for attack in ATTACKS if attack.plainly]
        failed = [a.name for a in plain if not await works_plainly(a, target)]
        environments = next(a for a in ATTACKS if a.name.startswith("secrets in"))
        assert await works_plainly(environments, target)
    assert failed == []
    assert len(plain) > 15


def _rows() -> list[list[str]]:
    lines = SECURITY.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| attack |"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:]]
    return rows[: next((n for n, row in enumerate(rows) if len(row) < 2), len(rows))]


def test_the_documents_table_names_the_same_attacks_and_none_works_against_the_default() -> None:
    header, _, *rows = _rows()
    assert [row[0] for row in rows] == [attack.name for attack in ATTACKS]
    default = header.index("bubblewrap")
    assert {row[default] for row in rows} == {"held"}
    known = {row[0] for row in rows if "works" in row[header.index("sandlock")]}
    assert known <= {"become root"}
