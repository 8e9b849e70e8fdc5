"""The import rules of the library, read from its source, and what a bare import loads."""

import ast
import contextlib
import importlib
import importlib.metadata
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "convlib"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# For each part of the library, the parts that it may import besides itself. Imports point
# downwards, so a part may only name parts that stand above it in this table.
MAY_IMPORT = {
    "shapes": set(),
    "utils": set(),
    "kernels": set(),
    "datasets": {"kernels"},
    "functional": {"kernels", "shapes"},
    "initializers": {"utils"},
    "metrics": set(),
    "optimizers": {"kernels"},
    "base": {"kernels", "shapes", "initializers"},
    "layers": {"shapes", "initializers", "utils", "base"},
    "losses": {"base"},
    "fusion": {"layers", "losses"},
    "plan": {"kernels", "base", "losses"},
    "report": {"plan"},
    "checks": set(),
    "callbacks": set(),
    "progress": set(),
    "storage": set(),
    "summary": {"base"},
    "models": {
        *("kernels", "utils", "metrics", "optimizers", "base", "layers", "losses", "fusion"),
        *("plan", "report", "checks", "callbacks", "progress", "storage", "summary"),
    },
}
# The package itself only names its parts, and the chapters' helpers may use all of them.
ON_TOP = {"", "notebook"}
BACKENDS = {"reference", "cpu", "cuda"}


def dotted(path: Path) -> str:
    """``convlib/kernels/cpu/tile.py`` → ``kernels.cpu.tile``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, with ``from a import b`` as ``a.b``."""
    found = set()
    package = ["convlib", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """What a file imports of convlib, below ``convlib``; a bare ``import convlib`` is ``""``."""
    names = {name for name in imports(path) if name.split(".")[0] == "convlib"}
    return {name.removeprefix("convlib").removeprefix(".") for name in names}


def test_the_table_points_downwards():
    names = list(MAY_IMPORT)
    for position, (part, below) in enumerate(MAY_IMPORT.items()):
        assert below <= set(names[:position]), f"{part} names a part that is not above it"


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_imports_point_downwards(path):
    part = dotted(path).split(".")[0]
    if part in ON_TOP:
        return
    assert part in MAY_IMPORT, f"say in MAY_IMPORT what convlib.{part} may import"
    allowed = MAY_IMPORT[part] | ({part} if path.parent != PACKAGE else set())
    for name in own_imports(path):
        assert name.split(".")[0] in allowed, f"{dotted(path)} must not import convlib.{name}"


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_backends_never_import_one_another(backend):
    others = tuple(f"kernels.{other}" for other in BACKENDS - {backend})
    for path in SOURCES:
        if dotted(path).startswith(f"kernels.{backend}"):
            for name in own_imports(path):
                assert not name.startswith(others), f"{dotted(path)} must not import {name}"


def test_kernels_are_launched_in_one_place():
    """``kernel[blocks, threads](...)`` stands nowhere, or a recorded step would lack it.

    `_device.launch` says ``kernel[configuration]``. A kernel on a shelf is not launched:
    ``table[name](...)`` has one index.
    """
    for path in (PACKAGE / "kernels" / "cuda").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            is_launch = isinstance(called, ast.Subscript) and isinstance(called.slice, ast.Tuple)
            assert not is_launch, f"{path.name}, line {node.lineno}: use _device.launch"


def test_third_party_imports_are_declared():
    """The library needs its dependencies only; parts of it need those of the extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for_library = with_direct_needs(project["dependencies"])
    for_chapters = for_library | with_direct_needs(
        project["optional-dependencies"]["book"] + project["optional-dependencies"]["test"]
    )
    # cuda.core, which numba-cuda needs as well, goes by its first name where it is not installed.
    for_gpus = for_library | with_direct_needs(project["optional-dependencies"]["cuda"]) | {"cuda"}
    by_part = {"notebook": for_chapters, "kernels.cuda": for_gpus}
    distributions = importlib.metadata.packages_distributions()
    for path in SOURCES:
        name = dotted(path)
        allowed = next((by_part[part] for part in by_part if name.startswith(part)), for_library)
        for root in {name.split(".")[0] for name in imports(path)}:
            if root == "convlib" or root in sys.stdlib_module_names:
                continue
            given_by = {canonicalize_name(name) for name in distributions.get(root, [root])}
            assert given_by & allowed, f"{name} imports {root}, which is not declared"


def with_direct_needs(lines: list[str]) -> set[str]:
    """Names of the declared packages and of what these require themselves."""
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    for name in list(names):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            needed = map(Requirement, importlib.metadata.requires(name) or [])
            names |= {canonicalize_name(r.name) for r in needed if "extra" not in str(r.marker)}
    return names


def in_fresh_python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_library_loads_nothing_heavy():
    parts = [f"convlib.{part}" for part in MAY_IMPORT if list(PACKAGE.glob(f"{part}*"))]
    program = "import " + ", ".join(["convlib", *parts]) + "\nprint(*sys.modules)"
    loaded = in_fresh_python(program).split()
    for heavy in ("matplotlib", "ipywidgets", "IPython", "torch", "numba.cuda", "convlib.notebook"):
        assert heavy not in loaded, f"import convlib loads {heavy}"


def test_importing_the_package_alone_loads_only_itself():
    program = "before = set(sys.modules)\nimport convlib\nprint(*set(sys.modules) - before)"
    loaded = {name.split(".")[0] for name in in_fresh_python(program).split()}
    assert loaded <= {"convlib"} | sys.stdlib_module_names


def test_import_time_is_reported(capsys):
    program = (
        "import time, numba, numpy\n"
        "start = time.perf_counter()\n"
        "from convlib import functional, layers, models\n"
        "print(time.perf_counter() - start)"
    )
    seconds = float(in_fresh_python(program))
    with capsys.disabled():
        print(f"[importing convlib beyond NumPy and Numba: {seconds:.2f} s] ", end="")


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = importlib.import_module(f"convlib.{dotted(path)}".rstrip("."))
    lacking = [] if ast.get_docstring(tree) else ["the module"]
    for node in public_definitions(tree.body):
        if not ast.get_docstring(node):
            lacking.append(node.name)
        if isinstance(node, ast.ClassDef):
            # A method that replaces one of a base class is described there.
            owner = getattr(module, node.name)
            lacking += [
                f"{node.name}.{method.name}"
                for method in public_definitions(node.body)
                if not inspect.getdoc(getattr(owner, method.name))
            ]
    assert not lacking, f"{dotted(path)}: no docstring for {', '.join(lacking)}"


def public_definitions(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.ClassDef]:
    definitions = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in definitions if not node.name.startswith("_")]
