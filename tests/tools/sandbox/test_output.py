from hypothesis import given
from hypothesis import strategies as st

from tools.sandbox.output import CappedOutput


@given(st.lists(st.binary(max_size=50), max_size=40), st.integers(4, 200))
def test_what_is_kept_is_the_whole_or_its_two_ends(chunks: list[bytes], limit: int) -> None:
    output = CappedOutput(limit)
    for chunk in chunks:
        output.add(chunk)
    whole = b"".join(chunks)
    if len(whole) <= limit:
        assert output.kept == whole
        assert not output.truncated
    else:
        tail = limit // 4
        assert output.truncated
        assert output.kept.startswith(whole[: limit - tail])
        assert output.kept.endswith(whole[len(whole) - tail :])
        assert f"{len(whole) - limit} bytes left out".encode() in output.kept
