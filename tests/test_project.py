"""The files around the library: dependencies in step, an installable wheel, clean text."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

EXTRAS = ("book", "test", "cuda", "site", "browser")
REQUIREMENTS = ["requirements.txt"] + [f"requirements-{name}.txt" for name in EXTRAS[2:]]
INTEL_MAC = {"sys_platform": "darwin", "platform_machine": "x86_64"}
WINDOWS = {"sys_platform": "win32", "os_name": "nt"}

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def declared(*extras: str) -> dict[str, Requirement]:
    project = PYPROJECT["project"]
    lines = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pinned(*files: str) -> list[Requirement]:
    lines = [
        line
        for file in files or ("requirements.txt",)
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines()
    ]
    return [Requirement(line) for line in lines if not line.startswith("#")]


def conda() -> dict[str, Requirement]:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    # conda writes python=3.12 for what is ==3.12.* elsewhere.
    requirements = [Requirement(re.sub(r"(?<![<>=!~])=([\d.]+)$", r"==\1.*", i)) for i in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_conda_and_pip_name_the_same_packages_with_the_same_bounds():
    from_conda = conda()
    python = from_conda.pop("python")
    from_conda.pop("pip")
    assert {name: str(r.specifier) for name, r in from_conda.items()} == {
        name: str(r.specifier) for name, r in declared("book", "test").items()
    }
    (only,) = python.specifier
    assert (
        Version(only.version.removesuffix(".*"))
        in Requirement("python" + PYPROJECT["project"]["requires-python"]).specifier
    )


def test_every_dependency_has_both_bounds():
    for requirement in declared(*EXTRAS, "dev").values():
        operators = {part.operator for part in requirement.specifier}
        assert operators == {">=", "<"}, f"{requirement}: expected >= and <"


def test_every_dependency_is_pinned_within_its_bounds():
    every_pin = pinned(*REQUIREMENTS)
    for name, requirement in declared(*EXTRAS).items():
        pins = [pin for pin in every_pin if canonicalize_name(pin.name) == name]
        assert pins, f"requirements.txt lacks {name}: write it again as pyproject.toml says"
        for pin in pins:
            (version,) = pin.specifier
            assert requirement.specifier.contains(version.version), f"{pin} is not {requirement}"


def test_requirements_are_exact_pins_and_nothing_else():
    for pin in pinned(*REQUIREMENTS):
        assert [part.operator for part in pin.specifier] == ["=="], f"{pin} is not a pin"
        assert pin.url is None and not pin.extras
    # One pin at most applies anywhere: here, and on the two systems with pins of their own.
    for changes in ({}, WINDOWS, INTEL_MAC):
        here = default_environment() | changes
        pins = pinned(*REQUIREMENTS)
        applied = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate(here)]
        assert len(applied) == len(set(applied))


def test_requirements_pin_all_that_their_packages_need():
    names = {
        canonicalize_name(pin.name)
        for pin in pinned()
        if pin.marker is None or pin.marker.evaluate()
    }
    missing = set()
    for name in sorted(names):
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed, so this is not the pinned environment")
        for needed in map(Requirement, needs):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                if canonicalize_name(needed.name) not in names:
                    missing.add(f"{needed.name} (for {name})")
    assert not missing


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the project was installed with pip, offline."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--target", target, ROOT]
    command += ["--no-build-isolation", "--no-index", "--no-deps", "--quiet"]
    done = subprocess.run([*command, "--disable-pip-version-check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_installation_holds_the_package_and_its_data_only(installed):
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*.*")}
    assert "convlib/__init__.py" in found
    expected = {
        f"convlib/data/{path.relative_to(ROOT / 'data').as_posix()}"
        for path in (ROOT / "data").rglob("*.*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert expected, "there is no embedded data"
    assert expected == {
        name for name in found if name.startswith("convlib/data/") and not name.endswith("/")
    }
    strangers = {name.split("/")[0] for name in found} - {"convlib"}
    assert all(name.endswith(".dist-info") for name in strangers), strangers


def test_installation_loads_the_embedded_digits_outside_the_repository(installed, tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import convlib\n"
        "from convlib.datasets import digits\n"
        "(x_train, y_train), (x_test, y_test) = digits.load_data()\n"
        "print(convlib.__file__, x_train.shape, x_test.shape, convlib.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    version = next(installed.glob("convlib-*.dist-info")).name.split("-")[1].split(".dist")[0]
    assert done.stdout.split(" ", 1) == [
        str(installed / "convlib" / "__init__.py"),
        f"(1347, 28, 28) (450, 28, 28) {version}\n",
    ]


def test_versions_agree():
    import convlib

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == convlib.__version__
    assert f"## {convlib.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_continuous_integration_runs_the_test_command_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    last_line = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    command = last_line.removeprefix("exec ")
    assert command == "python3 book.py test --cuda --browser"
    for wanted in (command, "    python3 book.py test  ", "python3 book.py read"):
        assert wanted in readme


@pytest.fixture
def chapter(tmp_path):
    """Run a chapter whose only stored output is wrong; return pytest's exit status and words."""

    def run(metadata: dict, **variables: str) -> tuple[int, str]:
        cell = nbformat.v4.new_code_cell("print(1)", execution_count=1, id="only")
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="2\n")]
        notebook = nbformat.v4.new_notebook(cells=[cell], metadata=metadata)
        nbformat.write(notebook, tmp_path / "chapter.ipynb")
        environment = {k: v for k, v in os.environ.items() if k != "CONVLIB_DATA"}
        environment |= {"PYTHONPATH": str(ROOT), "CONVLIB_CACHE": str(tmp_path)}
        environment |= {"XDG_CACHE_HOME": str(tmp_path)} | variables
        command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider"]
        command += ["-c", ROOT / "pyproject.toml", tmp_path / "chapter.ipynb"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout

    return run


def test_chapters_are_compared_strictly(chapter):
    status, words = chapter({})
    assert status == 1 and "1 failed" in words


def test_a_chapter_without_its_data_set_is_skipped_with_the_reason(chapter, tmp_path):
    needs = {"convlib": {"needs": "mnist"}}
    status, words = chapter(needs)
    assert status == 0 and "1 skipped" in words
    assert "needs the data set mnist" in words and "CONVLIB_DATA" in words
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte.gz").touch()
    status, words = chapter(needs, CONVLIB_DATA=str(tmp_path))
    assert status == 1 and "1 failed" in words, "with the files there, the chapter must run"


MACHINE_TRACES = re.compile(
    r"(?<![\w.~])/(?:tmp|root|home|Users)/\w+/|[A-Z]:\\+Users\\+\w|//[\w.]*(?:pypi|pythonhosted)\.org"
)


def test_no_tracked_text_carries_the_paths_of_a_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this folder is not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if name.startswith("tests/") or not path.exists():
            continue  # tests may need examples of such paths
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # data
        found = MACHINE_TRACES.search(text)
        assert not found, f"{name} contains {found[0]!r}"
