"""Headless Chromium for tests: a page that keeps what it asked of the network and what went wrong in it."""

import shutil
from contextlib import contextmanager
from functools import cache

from playwright.sync_api import Browser, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PATIENCE = 120_000  # ms; what is expected comes in a fraction of a second where nobody else is at work
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@cache
def _browser() -> Browser:
    """The one browser of this process; it ends with it."""
    return sync_playwright().start().chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@contextmanager
def new_page(width=1366, height=768, dark=False):
    """A page as in a new browser. `requests`: addresses that it asked for; `errors`: what its scripts complained of."""
    context = _browser().new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page = context.new_page()
    page.requests, page.errors = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    try:
        yield page
    finally:
        context.close()
