"""The browser of this machine, for tests that look at pages as readers do."""

import shutil

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# As root, in a container, and without the browser's own errands into the network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIMIT = 120_000  # milliseconds: a machine may be slow, and busy with other tests


@pytest.fixture(scope="session")
def browser():
    """Chromium or Chrome, driven by playwright."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.fail(
            "there is no Chromium or Chrome on this computer; install one (on Debian: sudo apt "
            "install chromium) and run the same command again",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def open_tab(browser):
    """A function that opens an empty page, which keeps what goes wrong in it in ``troubles``.

    That is: errors and warnings in the console, requests that fail or are refused, and requests to
    any other place than those that may be asked.
    """
    contexts = []

    def open_tab(may_ask, **settings):
        context = browser.new_context(**settings)
        context.set_default_timeout(LIMIT)
        contexts.append(context)
        tab = context.new_page()
        tab.troubles = []

        def look_at(request):
            if not request.url.startswith(may_ask):
                tab.troubles.append(f"asked for {request.url}")

        def hear(message):
            if message.type in ("error", "warning"):
                tab.troubles.append(message.text)

        tab.on("request", look_at)
        tab.on("requestfailed", lambda request: tab.troubles.append(f"failed: {request.url}"))
        tab.on("console", hear)
        tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
        return tab

    yield open_tab
    for context in contexts:
        context.close()
