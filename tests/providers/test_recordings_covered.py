"""No recorded exchange is left unread."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
CASSETTES = HERE.parents[2] / "shared" / "cassettes"
READERS = ("test_recorded_exchanges.py", "test_bedrock_recorded.py", "test_google_recorded.py")


@pytest.mark.skipif(
    not CASSETTES.is_dir(), reason="the recorded exchanges are not beside this repository"
)
def test_every_recorded_exchange_is_read_by_a_test() -> None:
    sources = "\n".join((HERE / name).read_text(encoding="utf-8") for name in READERS)
    stems = sorted(path.stem for path in CASSETTES.rglob("*.yaml"))
    assert len(stems) == 50
    unread = [s for s in stems if f'{s}"' not in sources and f'{s}.yaml"' not in sources]
    assert unread == []
