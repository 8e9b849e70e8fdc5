"""From a fresh clone to the running book: ``python3 book.py read``, ``test``, ``site`` and more.

All of them first make ``.venv`` in this folder and install what ``requirements.txt`` pins, once;
after that they start in seconds and need no network. Python 3.11 or newer is all they need.

The grammar of this file is that of Python 3.6, so that an older Python than the book's can read far
enough to say that it is too old.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)
DISK_NEEDED_MB = 1000

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = ROOT / "requirements.txt"
CHAPTERS = ROOT / "chapters"
FIRST_CHAPTER = "00_start_here.ipynb"

VENV = ROOT / ".venv"
PROGRAMS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = PROGRAMS / ("python.exe" if os.name == "nt" else "python")
# Written last, so that it is there only after a set-up that went all the way through.
STAMP = VENV / "book-ready.txt"

# What some commands install besides, from requirements-NAME.txt, and what that downloads.
EXTRAS = {
    "cuda": "the GPU's compiler: 400 MB",
    "site": "what builds the web site: 30 MB",
    "browser": "what drives a browser: 50 MB",
}

# What a failed installation printed, and what that means to the person who ran it.
KNOWN_FAILURES = (
    (
        r"No space left|Errno 28\b|WinError 112\b|not enough space",
        "the disk is full; free {disk} MB and run the same command again",
    ),
    (
        r"Permission denied|Read-only file system|Access is denied|Errno 13\b|Errno 30\b",
        "{root} cannot be written to; clone the repository into a folder of your own and run the "
        "command there",
    ),
    (
        r"Retrying \(|NewConnectionError|name resolution|getaddrinfo|timed out|ProxyError|SSLError"
        r"|Connection (?:refused|reset|aborted|broken)|Network is unreachable|IncompleteRead",
        "the packages could not be downloaded; connect to the network and run the same command "
        "again (what has arrived is kept)",
    ),
    (
        r"No matching distribution found for (?P<package>\S+)",
        "there is no ready-made {package} for Python {python} on this system; run the command with "
        "another Python, 3.11 or newer",
    ),
)


class Stop(Exception):
    """The end of the run, with the one sentence that says what to do."""


def main(arguments=None):
    """Run one command of the book; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="book.py", description="The book on convolutional networks, and its tests."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    reader = commands.add_parser("read", help="open the chapters in JupyterLab")
    reader.add_argument("--no-browser", action="store_true", help="only print the address")
    reader.add_argument("--port", type=int, help="port of the JupyterLab server")
    tester = commands.add_parser(
        "test", help="run every test and chapter; what follows is for pytest"
    )
    tester.add_argument(
        "--cuda", action="store_true", help="install the GPU's compiler first and test with it too"
    )
    tester.add_argument(
        "--browser",
        action="store_true",
        help="also open the web site and JupyterLab in Chromium or Chrome",
    )
    commands.add_parser("build", help="run the chapters' sources and write their notebooks")
    commands.add_parser("site", add_help=False, help="build the book as a web site, in build/site")
    commands.add_parser(
        "bench",
        add_help=False,
        help="measure convlib's speed, beside its peers' where they are (on a GPU: --backend cuda)",
    )
    options, passed_on = parser.parse_known_args(arguments)
    if options.command == "read" and passed_on:
        parser.error("read does not know " + " ".join(passed_on))

    try:
        check_python()
        set_up()
        if options.command == "read":
            command = jupyterlab(options.no_browser, options.port)
        elif options.command == "test":
            if options.cuda:
                add_extra("cuda")
            if options.browser:
                add_extra("site")
                add_extra("browser")
            # Side by side, since compiling keeps one core busy and training two.
            command = ["pytest", "--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder"]
            command += passed_on
            if options.browser:
                command.append("--browser")
        elif options.command == "site":
            add_extra("site")
            command = ["website"] + passed_on
        elif options.command == "bench":
            command = ["benchmarks"] + passed_on
        else:
            command = ["convlib.notebook.build"] + passed_on
        if options.command in ("test", "build"):
            # What chapters print is not to depend on whether this machine has a GPU.
            os.environ.setdefault("CONVLIB_BACKEND", "cpu")
        return hand_over(command)
    except Stop as reason:
        print(f"book.py: {reason}.", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nbook.py: stopped; run the same command again to go on.", file=sys.stderr)
    return 1


def check_python():
    """Stop if this Python is too old or cannot make virtual environments."""
    version = "{}.{}".format(*sys.version_info)
    if sys.version_info < OLDEST_PYTHON:
        raise Stop(
            "the book needs Python {}.{} or newer and this is Python {}; install a newer one and "
            "run book.py with it, for example: python3.12 book.py read".format(
                *OLDEST_PYTHON, version
            )
        )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise Stop(
            f"this Python {version} comes without its venv module; install that (on Debian and "
            f"Ubuntu: sudo apt install python{version}-venv) and run the same command again"
        )


def set_up():
    """Make ``.venv`` hold exactly what ``requirements.txt`` pins, unless it does already."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    wanted += " Python {}.{}\n".format(*sys.version_info)
    if is_ready(wanted, STAMP):
        return

    try:
        if STAMP.exists():
            print("The pinned packages or Python have changed, so .venv is made anew.")
        elif VENV.exists():
            print("An earlier set-up did not finish, so it starts again.")
        print(
            "Setting up the book in .venv: one to five minutes and 160 MB of downloads, this time "
            "only.",
            flush=True,
        )
        if shutil.disk_usage(ROOT).free < DISK_NEEDED_MB * 10**6:
            raise OSError("No space left")
        if VENV.exists():
            # The stamp goes first: a half-deleted environment must not look ready.
            STAMP.unlink(missing_ok=True)
            shutil.rmtree(VENV)
        # When this runs in .venv itself, the new one has to come from the Python underneath.
        run_or_explain([getattr(sys, "_base_executable", sys.executable), "-m", "venv", VENV])
        install_packages(REQUIREMENTS)
        make_importable()
        keep_jupyterlab_quiet()
        unfinished = STAMP.with_suffix(".part")
        unfinished.write_text(wanted)
        unfinished.replace(STAMP)
    except OSError as error:
        raise Stop(explanation(str(error))) from error
    print("The book is set up.", flush=True)


def add_extra(name):
    """Put what ``requirements-NAME.txt`` pins into ``.venv`` as well, unless it is there."""
    requirements = ROOT / f"requirements-{name}.txt"
    stamp = VENV / f"{name}-ready.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if is_ready(wanted, stamp):
        return
    print(f"Adding {EXTRAS[name]} of downloads, this time only.", flush=True)
    install_packages(requirements)
    stamp.write_text(wanted)


def is_ready(wanted, stamp):
    """Tell whether ``.venv`` was set up for what is wanted and its Python still runs."""
    try:
        stamped = stamp.read_text() == wanted
        return stamped and subprocess.run([PYTHON, "-c", ""]).returncode == 0
    except OSError:
        return False


def install_packages(requirements):
    """Install the pinned packages, ready-made ones only, since there may be no compiler."""
    fetched = 0

    def show_progress(line):
        nonlocal fetched
        if line.startswith(("Collecting ", "Processing ")):
            fetched += 1
            if sys.stdout.isatty():
                print(f"\r  fetching package {fetched} ", end="", flush=True)
        elif line.startswith("Installing "):
            print(f"\r  fetched {fetched} packages, unpacking them now", flush=True)

    command = [PYTHON, "-m", "pip", "install", "--requirement", requirements]
    command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    run_or_explain(command + ["--progress-bar=off"], show_progress)


def make_importable():
    """Let the environment import ``convlib`` from here, wherever it is called from."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run_or_explain([PYTHON, "-c", ask]).strip())
    # Relative, so that the whole folder may be moved, and ASCII whatever the folder is called.
    (packages / "convlib.pth").write_text(os.path.relpath(ROOT, packages) + "\n")


def keep_jupyterlab_quiet():
    """Let JupyterLab neither ask about news nor look for updates, unless a reader wants that."""
    notices = {"fetchNews": "false", "checkForUpdates": False}
    settings = VENV / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "overrides.json").write_text(
        json.dumps({"@jupyterlab/apputils-extension:notification": notices})
    )


def run_or_explain(command, watch=lambda line: None):
    """Run a command of the set-up and return what it printed, or stop and say why it failed."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    with process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            watch(line)
    output = "".join(lines)
    if process.returncode != 0:
        raise Stop(explanation(output))
    return output


def explanation(output):
    """Say in one sentence what the output of a failed set-up means."""
    facts = {
        "root": ROOT,
        "disk": DISK_NEEDED_MB,
        "python": "{}.{}".format(*sys.version_info),
    }
    for pattern, sentence in KNOWN_FAILURES:
        found = re.search(pattern, output)
        if found:
            return "the set-up stopped: " + sentence.format(**facts, **found.groupdict())
    last_words = " ".join(output.split("\n")[-6:]).strip()
    return f"the set-up stopped and said: {last_words!r}; run the same command again to retry"


def jupyterlab(no_browser, port):
    """Return the command line that opens the first chapter."""
    print("Starting JupyterLab on the chapters; Ctrl-C here ends it.", flush=True)
    command = [
        "jupyterlab",
        f"--ServerApp.root_dir={CHAPTERS}",
        f"--LabApp.default_url=/lab/tree/{FIRST_CHAPTER}",
        "--LabApp.extension_manager=readonly",  # the other manager looks into the network
        "--KernelManager.transport_encryption=auto",  # without, each kernel warns its readers
        # The address is a critical message, and all that a reader needs of the log.
        "--ServerApp.log_level=ERROR",
        "--LabApp.log_level=ERROR",
    ]
    if no_browser:
        command.append("--no-browser")
    if port is not None:
        command.append(f"--port={port}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container there is often nobody else
    return command


def hand_over(module):
    """Run a module of ``.venv`` in this process's stead; return its exit status."""
    command = [str(PYTHON), "-m"] + module
    os.chdir(ROOT)
    sys.stdout.flush()
    if os.name != "nt":
        os.execve(command[0], command, environment())
    # Windows would give the prompt back at once, so there this process waits.
    with subprocess.Popen(command, env=environment()) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                pass  # meant for the program that is running, which has got it too


def environment():
    """Return the variables for programs of ``.venv``: as if it were activated, and nothing else."""
    variables = dict(os.environ)
    # Other people's packages and another back end for figures would change what chapters print.
    for name in ("PYTHONPATH", "PYTHONHOME", "MPLBACKEND", "PIP_USER", "PIP_TARGET"):
        variables.pop(name, None)
    variables["VIRTUAL_ENV"] = str(VENV)
    variables["PATH"] = str(PROGRAMS) + os.pathsep + variables.get("PATH", os.defpath)
    variables["JUPYTER_PREFER_ENV_PATH"] = "1"  # its kernels before those of the user
    variables["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a warning of no use to readers
    return variables


if __name__ == "__main__":
    sys.exit(main())
