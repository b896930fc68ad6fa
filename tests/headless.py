# SPDX-License-Identifier: Apache-2.0
"""Pages in a browser without a window, where one is installed: their document after their scripts ran, and as PDF."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is installed")
SECONDS = 90


def in_browser(page, folder, width=1400, fragment=""):
    """The document after its scripts ran. The browser is ended, with its children, if it takes too long."""
    address = page.as_uri() + fragment
    return _run(folder, f"--window-size={width},900", "--virtual-time-budget=8000", "--dump-dom", address)


def printed(page, folder):
    """The PDF of a page on A4."""
    out = folder / "page.pdf"
    _run(folder, "--no-pdf-header-footer", f"--print-to-pdf={out}", page.as_uri())
    return out


def _run(folder, *words):
    profile = f"--user-data-dir={folder / 'profile'}"
    process = subprocess.Popen(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", profile, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"{BROWSER} did not end within {SECONDS} s")
    assert process.returncode == 0
    return text
