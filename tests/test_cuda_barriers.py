"""No barrier of a GPU kernel can be removed without a case of the contract noticing.

Each ``cuda.syncthreads()`` in the sources is taken out, one at a time, and the kernels are imported
anew. The case that the table names must then fail in the simulator; with all barriers it passes, in
place. A barrier without a row, and a row without a barrier, are failures too.
"""

import ast
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest
from contract_cases import CASES
from test_contract import Call

import convlib.kernels
from convlib.kernels import get_backend

if not numba.config.ENABLE_CUDASIM:
    pytest.skip("runs in the simulator only", allow_module_level=True)

PACKAGE = "convlib.kernels.cuda"
FOLDER = Path(convlib.kernels.__file__).parent / "cuda"

# (file, which of its barriers, counted from 0): the case that fails without it.
NOTICED_BY = {
    ("_lanes", 0): "batch_norm_statistics-one_channel",
    ("_lanes", 1): "softmax_forward-5_of_100",
    ("_lanes", 2): "softmax_forward-far_apart,_100_of_them",
    ("conv2d_pool", 0): "conv2d_relu_max_pool2d_backward_params-channels_33_to_3",
    ("conv2d_pool", 1): "conv2d_relu_max_pool2d_backward_params-no_samples",
    ("correlation", 0): "dense_backward_input-1_of_1_to_1",
    ("direct", 0): "conv2d_forward-image_1x1_same",
    ("direct", 1): "conv2d_relu_max_pool2d_forward-channels_1_to_33",
    ("outer_products", 0): "dense_backward_params-1_of_1_to_1",
}


def barriers(path):
    """Return the statements of a file that are nothing but a barrier, in order."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and ast.unparse(node) == "cuda.syncthreads()"
    ]
    return tree, sorted(found, key=lambda node: node.lineno)


class WithoutBarrier:
    """Finds one module of the package, whose source lacks a barrier."""

    def __init__(self, name, number):
        self.name, self.number = name, number

    def find_spec(self, fullname, path=None, target=None):
        if fullname != f"{PACKAGE}.{self.name}":
            return None
        spec = importlib.util.spec_from_file_location(fullname, FOLDER / f"{self.name}.py")
        spec.loader.source_to_code = self.code
        return spec

    def code(self, data, path, **_):
        tree, found = barriers(Path(path))
        gone = found[self.number]

        class Removal(ast.NodeTransformer):
            def visit_Expr(self, node):
                same = (node.lineno, node.col_offset) == (gone.lineno, gone.col_offset)
                return ast.copy_location(ast.Pass(), node) if same else node

        return compile(ast.fix_missing_locations(Removal().visit(tree)), path, "exec")


@contextmanager
def kernels_without(name, number):
    """Give the backend with one barrier removed."""
    before = {key: module for key, module in sys.modules.items() if key.startswith(PACKAGE)}
    for key in before:
        del sys.modules[key]
    finder = WithoutBarrier(name, number)
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module(PACKAGE)
    finally:
        sys.meta_path.remove(finder)
        for key in [key for key in sys.modules if key.startswith(PACKAGE)]:
            del sys.modules[key]
        sys.modules.update(before)


def passes(case, backend):
    this = Call(case, np.float32)
    try:
        this.assert_as_expected(this.run(backend))
    except (Exception, pytest.fail.Exception):  # a kernel may stumble over the NaN it finds
        return False
    return True


def test_the_table_has_a_row_for_every_barrier():
    present = {
        (path.stem, number)
        for path in FOLDER.glob("*.py")
        for number in range(len(barriers(path)[1]))
    }
    assert present == set(NOTICED_BY)


@pytest.mark.parametrize(("name", "number"), NOTICED_BY)
def test_without_a_barrier_a_case_fails(name, number):
    (case,) = (case for case in CASES if str(case) == NOTICED_BY[name, number])
    assert passes(case, get_backend("cuda"))
    with kernels_without(name, number) as crippled:
        assert not passes(case, crippled)
