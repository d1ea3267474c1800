"""How Chromium is started: which one, as whom, with which switches, and through which proxy."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from core.errors import EnvironmentUnusableError
from core.tool_settings import BrowserSettings
from tools.browser.memory_bound import memory_bound
from tools.workspace import SANDBOX_UID

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserType, Playwright, ProxySettings

_log = logging.getLogger(__name__)

BROWSER_UID = SANDBOX_UID + 1
"""Who Chromium is when we are root: neither root nor the user of sandboxed code."""

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_DISPLAY = ("DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR")
_PATH = "/usr/local/bin:/usr/bin:/bin"

GUARDED = (
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
    "--dns-prefetch-disable",
)
"""Switches that leave the proxy as the only way out.

Chromium itself resolves nothing, loopback is no exception, and neither WebRTC nor QUIC sends UDP.
"""
INSECURE = ("--disable-web-security", "--disable-site-isolation-trials")
_AS_USER = """\
#!/bin/sh
for argument in "$@"; do
    case $argument in --user-data-dir=*) chown {uid}:{uid} "${{argument#*=}}" ;; esac
done
exec setpriv --reuid {uid} --regid {uid} --clear-groups -- {executable} "$@"
"""


def find_executable(settings: BrowserSettings, playwright: Playwright) -> Path:
    """The configured browser, the system's, or Playwright's own.

    Raises:
        EnvironmentUnusableError: there is none.
    """
    if settings.chrome_instance_path:
        if not os.access(settings.chrome_instance_path, os.X_OK):
            raise EnvironmentUnusableError(
                f"[browser] chrome_instance_path: {settings.chrome_instance_path} cannot be run"
            )
        return settings.chrome_instance_path
    own = Path(playwright.chromium.executable_path)
    found = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if found is None and not own.exists():
        raise EnvironmentUnusableError(
            "browser_use needs Chromium: install the package 'chromium', run "
            "'playwright install chromium', or set [browser] chrome_instance_path"
        )
    return Path(found) if found else own


@dataclass(frozen=True, slots=True)
class Running:
    """A browser, and where it keeps unfinished downloads if it is on this machine."""

    browser: Browser
    downloads: Path | None = None


@asynccontextmanager
async def launched(
    playwright: Playwright, settings: BrowserSettings, proxy: ProxySettings
) -> AsyncGenerator[Running]:
    """A browser whose only way out is the proxy. It inherits no variable of our environment.

    Raises:
        EnvironmentUnusableError: there is no Chromium, or it does not start.
    """
    executable = find_executable(settings, playwright)
    with TemporaryDirectory(prefix="manus-browser-", ignore_cleanup_errors=True) as made:
        place = Path(made)
        place.chmod(0o711)
        for directory in (place / "home", place / "downloads"):
            directory.mkdir(mode=0o700)
            if _drops_root():
                os.chown(directory, BROWSER_UID, BROWSER_UID)
        if _drops_root():
            executable = _as_other_user(executable, place / "chromium-as-user")
        launch = _Launch(playwright.chromium, settings, proxy, executable, place)
        browser = await launch.best_confined()
        try:
            async with memory_bound(launch.mark, settings.memory_mib):
                yield Running(browser, place / "downloads")
        finally:
            await browser.close()


@asynccontextmanager
async def connected(
    playwright: Playwright, settings: BrowserSettings
) -> AsyncGenerator[Running | None]:
    """The browser at ``wss_url`` or ``cdp_url``; None where neither is set.

    Raises:
        EnvironmentUnusableError: nothing answers there.
    """
    from playwright.async_api import Error

    timeout = settings.navigation_timeout_seconds * 1000
    try:
        if settings.wss_url:
            browser = await playwright.chromium.connect(
                settings.wss_url.get_secret_value(), timeout=timeout
            )
        elif settings.cdp_url:
            browser = await playwright.chromium.connect_over_cdp(
                settings.cdp_url.get_secret_value(), timeout=timeout
            )
        else:
            yield None
            return
    except Error as error:
        setting = "wss_url" if settings.wss_url else "cdp_url"
        raise EnvironmentUnusableError(f"[browser] {setting}: no browser answers there") from error
    _log.warning("the browser is not ours: its connections do not pass the egress guard")
    try:
        yield Running(browser)
    finally:
        await browser.close()


def _drops_root() -> bool:
    return os.geteuid() == 0 and shutil.which("setpriv") is not None


def _as_other_user(executable: Path, wrapper: Path) -> Path:
    """A script that gives the profile Playwright made to the browser's user and becomes it."""
    quoted = shlex.quote(str(executable))
    wrapper.write_text(_AS_USER.format(uid=BROWSER_UID, executable=quoted), encoding="utf-8")
    wrapper.chmod(0o755)
    return wrapper


@dataclass(frozen=True, slots=True)
class _Launch:
    chromium: BrowserType
    settings: BrowserSettings
    proxy: ProxySettings
    executable: Path
    place: Path

    @property
    def mark(self) -> str:
        """A switch that Chromium does not know: its process is told by it."""
        return f"--manus-browser={self.place.name}"

    async def best_confined(self) -> Browser:
        """With Chromium's own sandbox where the kernel can, else without, which is logged."""
        from playwright.async_api import Error

        if os.geteuid() != 0 or _drops_root():
            try:
                return await self._start(confined=True)
            except Error as error:
                _log.warning("Chromium did not start in its own sandbox: %s", _brief(error))
        _log.warning("Chromium runs without its own sandbox (--no-sandbox)")
        try:
            return await self._start(confined=False)
        except Error as error:
            raise EnvironmentUnusableError(
                f"{self.executable}: Chromium does not start: {_brief(error)}"
            ) from error

    async def _start(self, *, confined: bool) -> Browser:
        insecure = INSECURE if self.settings.disable_security else ()
        return await self.chromium.launch(
            executable_path=self.executable,
            headless=self.settings.headless,
            chromium_sandbox=confined,
            args=[*self.settings.extra_chromium_args, *insecure, *GUARDED, self.mark],
            proxy=self.proxy,
            env=self._environment(),
            downloads_path=self.place / "downloads",
            timeout=self.settings.navigation_timeout_seconds * 1000,
        )

    def _environment(self) -> dict[str, str | float | bool]:
        """All that Chromium is told; a window needs a display beside the rest."""
        shown = () if self.settings.headless else _DISPLAY
        kept = {name: os.environ[name] for name in (*shown, "LANG", "TZ") if name in os.environ}
        home = str(self.place / "home")
        return {"PATH": _PATH, "HOME": home, "TMPDIR": home, **kept}


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "ERROR:" in line or "FATAL:" in line), lines[0])
    return told[:300]
