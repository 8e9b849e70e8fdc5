"""What all tests and chapters share: repeatable examples, no windows, data sets where they are."""

import importlib

import matplotlib
import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

# The files that take minutes. They are run first, lest one of two processes ends up waiting.
LONGEST = [
    "test_cuda_in_the_simulator.py",
    "test_contract.py",
    "test_cuda_compilation.py",
    "14_train_and_look_inside.ipynb",
]


def pytest_addoption(parser):
    parser.addoption(
        "--browser", action="store_true", help="run the tests that open pages in a browser"
    )


def pytest_configure():
    # Not through MPLBACKEND: the chapters' kernels would inherit that and draw nothing.
    matplotlib.use("agg")


def pytest_collection_modifyitems(config, items):
    """Run what is long first; skip what needs a browser or a data set that is not here."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    with_browser = config.getoption("--browser")
    browser_tests = config.rootpath / "tests" / "browser"
    for item in items:
        if not with_browser and item.path.is_relative_to(browser_tests):
            reason = "opens a browser: run python3 book.py test --browser"
            item.add_marker(pytest.mark.skip(reason=reason))
        notebook = getattr(item.parent, "nb", None)
        if notebook is not None:
            needed = notebook.metadata.get("convlib", {}).get("needs")
            if needed and not _is_available(needed):
                item.add_marker(pytest.mark.skip(reason=_where_to_put(needed)))


@pytest.fixture(scope="session")
def mnist_data():
    """MNIST as ``(x_train, y_train), (x_test, y_test)``; skips where it is not at hand."""
    if not _is_available("mnist"):
        pytest.skip(_where_to_put("mnist"))
    return _data_set("mnist").load_data()


def _data_set(name):
    return importlib.import_module(f"convlib.datasets.{name}")


def _is_available(name):
    return _data_set(name).is_available()


def _where_to_put(name):
    return (
        f"needs the data set {name}, which is not on this computer: name its folder in "
        f"CONVLIB_DATA, or load it once with convlib.datasets.{name}.load_data()"
    )
