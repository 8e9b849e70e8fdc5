"""``book.py`` on a small repository of its own: set-up, second start, and what goes wrong.

The packages that it installs there are stand-ins, made here, which print how they were called, so
that everything but the download is real: the virtual environment, pip, the hand-over.
"""

import ast
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parent.parent / "book.py"
PRINTS_ITS_ARGUMENTS = (
    "import os, sys\n"
    "print('called with', *sys.argv[1:], 'in', os.getcwd())\n"
    "print('MPLBACKEND', os.environ.get('MPLBACKEND'))\n"
    "sys.exit(3 if '--fail' in sys.argv else 0)\n"
)


def write_wheel(folder: Path, name: str) -> None:
    """Write the smallest package that pip installs: one module that prints its arguments."""
    information = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", PRINTS_ITS_ARGUMENTS)
        wheel.writestr(
            f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{information}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{information}/RECORD", "")


class Repository:
    """A clone in miniature, with ``book.py``, a package and a folder of stand-in wheels."""

    def __init__(self, folder: Path):
        self.root = folder / "a clone with späces"
        self.wheels = folder / "wheels"
        (self.root / "chapters").mkdir(parents=True)
        (self.root / "convlib").mkdir()
        (self.root / "convlib" / "__init__.py").touch()
        shutil.copy(BOOK, self.root)
        (self.root / "requirements.txt").write_text("# pins\npytest==1.0\njupyterlab==1.0\n")
        self.wheels.mkdir()
        for name in ("pytest", "jupyterlab"):
            write_wheel(self.wheels, name)
        self.python = self.root / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen:
        """Start ``python book.py …`` so that pip knows no source but the stand-ins."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        clean |= {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": self.wheels.as_uri()}
        clean |= {"PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1", "MPLBACKEND": "unknown"} | variables
        return subprocess.Popen(
            [sys.executable, self.root / "book.py", *arguments],
            env=clean,
            cwd=self.root.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """Return the exit status of ``python book.py …`` and what it printed."""
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.fixture
def fresh(tmp_path):
    return Repository(tmp_path)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    repository = Repository(tmp_path_factory.mktemp("ready"))
    status, out, err = repository.run("test")
    assert status == 0, err
    assert out.startswith("Setting up the book")
    assert "this time only" in out and "The book is set up." in out
    return repository


@pytest.fixture
def book(tmp_path):
    """``book.py`` as a module of a miniature clone, for what is easier to simulate inside."""
    repository = Repository(tmp_path)
    specification = importlib.util.spec_from_file_location("book", repository.root / "book.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def one_sentence(err: str) -> str:
    """Check that a message is one line that ends as a sentence, and return it."""
    assert err.startswith("book.py: ") and err.endswith(".\n") and err.count("\n") == 1, err
    return err


# What works.


def test_a_second_call_installs_nothing(ready):
    status, out, err = ready.run("test", PIP_FIND_LINKS="")
    assert status == 0, err
    assert out.startswith("called with")


def test_tests_run_in_the_repository_with_the_arguments_and_the_exit_status_of_pytest(ready):
    status, out, _ = ready.run("test", "-k", "pool", "tests/test_layers.py", "--fail")
    assert status == 3
    first = out.splitlines()[0]
    assert first.startswith("called with --numprocesses=2 --dist=loadfile --no-loadscope-reorder ")
    assert first.endswith(f" -k pool tests/test_layers.py --fail in {ready.root}")
    assert "MPLBACKEND None" in out, "a back end of the caller's must not reach the chapters"


def test_the_reader_is_taken_to_the_first_chapter(ready):
    status, out, err = ready.run("read", "--no-browser", "--port", "8899")
    assert status == 0, err
    assert f"--ServerApp.root_dir={ready.root / 'chapters'}" in out
    assert "--LabApp.default_url=/lab/tree/00_start_here.ipynb" in out
    assert "--no-browser" in out and "--port=8899" in out
    assert "--no-browser" not in ready.run("read")[1]


def test_building_is_left_to_the_module_that_knows_how(ready):
    status, _, err = ready.run("build", "10", "--check")
    assert status != 0
    assert "convlib.notebook" in err, "the miniature clone has no such module"


def test_the_site_and_the_tests_in_a_browser_get_what_they_need(ready):
    (ready.root / "website.py").write_text(PRINTS_ITS_ARGUMENTS)
    for name in ("site", "browser"):
        write_wheel(ready.wheels, f"for_{name}")
        (ready.root / f"requirements-{name}.txt").write_text(f"for_{name}==1.0\n")
    status, out, err = ready.run("site")
    assert status == 0, err
    assert out.startswith("Adding what builds the web site")
    assert f"\ncalled with in {ready.root}\n" in out
    status, out, err = ready.run("test", "--browser", "-k", "site")
    assert status == 0, err
    assert out.startswith("Adding what drives a browser"), "that of the site is there already"
    assert f" -k site --browser in {ready.root}\n" in out
    assert ready.run("test", "--browser", PIP_FIND_LINKS="")[1].startswith("called with")


def test_benchmarks_are_left_to_the_package_of_that_name_with_their_own_help(ready):
    (ready.root / "benchmarks.py").write_text(PRINTS_ITS_ARGUMENTS)
    status, out, err = ready.run("bench", "network", "--peers", "python", "--help")
    assert status == 0, err
    assert out.startswith("called with network --peers python --help in ")


def test_the_environment_imports_convlib_from_anywhere_even_after_a_move(ready, tmp_path):
    moved = ready.root.with_name("moved")
    ready.root.rename(moved)
    try:
        printed = subprocess.check_output(
            [moved / ready.python.relative_to(ready.root), "-c", "import convlib as c; print(c)"],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            text=True,
        )
    finally:
        moved.rename(ready.root)
    assert repr(str(moved / "convlib" / "__init__.py")) in printed


def test_changed_pins_or_another_python_or_a_lost_one_ask_for_a_new_set_up(
    ready, book, monkeypatch
):
    monkeypatch.setattr(book, "STAMP", ready.root / ".venv" / "book-ready.txt")
    monkeypatch.setattr(book, "PYTHON", ready.python)
    wanted = book.STAMP.read_text()
    assert book.is_ready(wanted, book.STAMP)
    assert not book.is_ready(wanted.replace("Python 3", "Python 4"), book.STAMP)
    assert not book.is_ready("0" + wanted, book.STAMP)
    monkeypatch.setattr(book, "PYTHON", ready.python.with_name("gone"))
    assert not book.is_ready(wanted, book.STAMP)


def test_unknown_arguments_of_read_are_refused(book, capsys):
    with pytest.raises(SystemExit) as stopped:
        book.main(["read", "--no-brower"])
    assert stopped.value.code == 2
    assert "--no-brower" in capsys.readouterr().err


# What goes wrong: one sentence each, and the next call puts it right.


def test_an_old_python_says_so(fresh):
    programs = filter(
        None, map(shutil.which, ["python3.7", "python3.8", "python3.9", "python3.10"])
    )
    old = [p for p in programs if not subprocess.run([p, "-c", ""], capture_output=True).returncode]
    if not old:
        pytest.skip("there is no Python older than 3.11 on this computer")
    for program in old:
        command = [program, fresh.root / "book.py", "read"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert "needs Python 3.11 or newer" in one_sentence(done.stderr)
        assert not (fresh.root / ".venv").exists()


def test_an_old_python_can_read_the_file(book, monkeypatch, capsys):
    ast.parse(BOOK.read_text(encoding="utf-8"), feature_version=(3, 7))
    monkeypatch.setattr(book.sys, "version_info", (3, 10, 4))
    assert book.main(["test"]) == 1
    assert "this is Python 3.10; install a newer one" in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_names_the_package_to_install(missing, book, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        book.importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    assert book.main(["read"]) == 1
    sentence = one_sentence(capsys.readouterr().err)
    assert "sudo apt install python{}.{}-venv".format(*sys.version_info) in sentence
    assert not book.VENV.exists()


def test_without_a_network_it_says_what_to_do(fresh):
    no_network = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_RETRIES": "1"}
    status, _, err = fresh.run("test", **no_network, PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert status == 1
    assert "connect to the network and run the same command again" in one_sentence(err)


@pytest.mark.skipif(os.name == "nt", reason="processes are interrupted in another way on Windows")
def test_an_interrupted_set_up_is_noticed_and_made_again(fresh):
    for how in (signal.SIGINT, signal.SIGKILL):
        # A server that accepts and says nothing keeps pip waiting, so that it can be interrupted.
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(60)
            index = "http://127.0.0.1:{1}/simple".format(*silent.getsockname())
            process = fresh.start("test", PIP_NO_INDEX="0", PIP_FIND_LINKS="", PIP_INDEX_URL=index)
            connection, _ = silent.accept()
            process.send_signal(how)
            connection.close()
        _, err = process.communicate(timeout=60)
        assert process.returncode != 0
        if how == signal.SIGINT:
            assert "stopped; run the same command again" in one_sentence(err.lstrip("\n"))

    status, out, err = fresh.run("test")
    assert status == 0, err
    assert out.startswith("An earlier set-up did not finish")
    assert fresh.run("test")[1].startswith("called with")


def test_an_unknown_package_is_named(fresh):
    (fresh.root / "requirements.txt").write_text("pytest==2.0\n")
    status, _, err = fresh.run("test")
    assert status == 1
    assert "there is no ready-made pytest==2.0 for Python" in one_sentence(err)


def test_a_full_disk_is_found_before_anything_is_written(book, monkeypatch, capsys):
    usage = shutil.disk_usage(book.ROOT)
    monkeypatch.setattr(book.shutil, "disk_usage", lambda path: usage._replace(free=10**8))
    assert book.main(["test"]) == 1
    assert "the disk is full; free 1000 MB" in one_sentence(capsys.readouterr().err)
    assert not book.VENV.exists()


def test_a_folder_that_cannot_be_written_to_is_named(book, monkeypatch, capsys):
    if os.name != "nt" and os.geteuid() != 0:
        book.ROOT.chmod(0o555)
    else:  # permissions do not stop root, and Windows has others

        def refuse(command, *rest):
            raise PermissionError(13, "Permission denied", str(command[-1]))

        monkeypatch.setattr(book, "run_or_explain", refuse)
    assert book.main(["test"]) == 1
    assert f"{book.ROOT} cannot be written to" in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device: 'x'", "disk is full"),
        ("OSError: [Errno 30] Read-only file system: '.venv'", "cannot be written to"),
        ("WARNING: Retrying (Retry(total=4)) ... Name or service not known", "network"),
        ("ERROR: ReadTimeoutError: Read timed out.", "network"),
        ("Something never seen before\n", "'Something never seen before'; run the same command"),
    ],
)
def test_what_pip_says_becomes_a_sentence(printed, sentence, book):
    assert sentence in book.explanation(printed)
