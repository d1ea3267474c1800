"""Which addresses a browser may be led to: the schemes here, the connections in the proxy."""

from __future__ import annotations

import re

from core.errors import EgressDeniedError, ToolFailedError
from tools.egress.policy import EgressPolicy

BLANK = "about:blank"
NOT_WEB = re.compile(r"^(?!(https?|wss?|about|data|blob):)", re.IGNORECASE)
"""What a proxy never sees, and no page has a reason to load."""

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"^[\w.-]+:\d{1,5}(/|\?|#|$)")
_LONGEST = 4000


async def checked_address(policy: EgressPolicy, given: str) -> str:
    """``given`` as it can be opened; ``https://`` is put before a bare host.

    Raises:
        EgressDeniedError: not the web, or a place that the policy denies.
        ToolFailedError: no address, or a host that does not exist.
    """
    url = given.strip()
    if url == BLANK:
        return url
    if not url or len(url) > _LONGEST or any(ord(c) < 32 for c in url):
        raise ToolFailedError(f"{url[:80]!r} is not an address")
    if _HOST_AND_PORT.match(url) or not _SCHEME.match(url):
        url = f"https://{url}"
    if not url.lower().startswith(("http://", "https://")):
        scheme = url.partition(":")[0]
        raise EgressDeniedError(f"{scheme}: addresses cannot be opened; only http, https, {BLANK}")
    await policy.check_url(url)
    return url
