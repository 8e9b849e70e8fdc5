"""What the reference says of each public name: what a reader needs, and an example that runs."""

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from functools import cache
from types import FunctionType, ModuleType

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from convlib import functional, layers, losses, metrics, models, optimizers
from convlib.notebook.markdown import dead_links
from website.pages import API, CHAPTERS, chapter_links

SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Notes", "Examples")


def public_things():
    """Yield module, name and thing for each function and class of the reference."""
    for module in (importlib.import_module(f"convlib.{m}") for part in API.values() for m in part):
        own = [name for name, thing in vars(module).items() if is_defined_in(thing, module)]
        for name in getattr(module, "__all__", own):
            thing = getattr(module, name)
            is_code = isinstance(thing, (type, FunctionType))
            if is_code and not name.startswith("_") and thing.__name__ == name:  # no alias
                yield module, name, thing


def is_defined_in(thing, module):
    return getattr(thing, "__module__", None) == module.__name__


THINGS = {
    f"{module.__name__}.{name}".removeprefix("convlib."): (module, thing)
    for module, name, thing in public_things()
}
# What readers call most are methods of these, and what they may write themselves are others.
WITH_METHODS = (models.Sequential, layers.Layer, losses.Loss, metrics.Metric, optimizers.Optimizer)
THINGS |= {
    f"{cls.__name__}.{name}": (importlib.import_module(cls.__module__), method)
    for cls in WITH_METHODS
    for name, method in vars(cls).items()
    if isinstance(method, FunctionType) and not name.startswith("_")
}
each_thing = pytest.mark.parametrize(("module", "thing"), THINGS.values(), ids=THINGS)


# Reading docstrings -----------------------------------------------------------------------------


def sections_of(docstring):
    """Return the text of each section."""
    titles = "|".join(SECTIONS)
    _, *parts = re.split(rf"^({titles})\n-+\n", docstring, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def entries_of(section):
    """Return what a section says of each name, with its type."""
    entries = {}
    for head, body in re.findall(r"^(\S.*)\n?((?:^(?: .*)?\n?)*)", section, flags=re.MULTILINE):
        names, _, kind = head.partition(" : ")
        names = re.split(r", (?=\w+(?:,|$))", names.replace("*", ""))
        entries |= dict.fromkeys(names, f"{kind}\n{body}")
    return entries


# Reading code -----------------------------------------------------------------------------------


def raised_by(function, callers=()):
    """Return the names of the exceptions that a function of convlib raises, or lets through."""
    if function in callers:
        return set()
    return _raised(tree_of(function), (*callers, function))


@cache
def tree_of(function):
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def _raised(node, callers):
    if isinstance(node, ast.Try):
        inside = set().union(*(_raised(part, callers) for part in node.body))
        for handler in node.handlers:
            again = any(is_raised_again(part) for part in ast.walk(handler))
            if not again:
                inside -= {part.id for part in ast.walk(handler.type) if isinstance(part, ast.Name)}
        rest = [*node.handlers, *node.orelse, *node.finalbody]
        return inside.union(*(_raised(part, callers) for part in rest))
    found = set().union(*(_raised(part, callers) for part in ast.iter_child_nodes(node)))
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        if isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
    if isinstance(node, ast.Call):
        called = code_of(named(node.func, callers[-1]))
        if called is not None:
            found |= raised_by(called, callers)
    return found - {"NotImplementedError"}


def is_raised_again(node):
    """``raise``, or another error of the same kind."""
    return isinstance(node, ast.Raise) and (
        node.exc is None or isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Call)
    )


def named(node, function):
    """Return what a name stands for in a function, None where only a run could tell."""
    if isinstance(node, ast.Name):
        return vars(importlib.import_module(function.__module__)).get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    if isinstance(node.value, ast.Call) and ast.unparse(node.value) == "super()":
        return getattr(class_of(function).__mro__[1], node.attr, None)
    if isinstance(node.value, ast.Name) and node.value.id == "self":
        return getattr(class_of(function), node.attr, None)
    owner = named(node.value, function)
    return getattr(owner, node.attr, None) if isinstance(owner, (type, ModuleType)) else None


def class_of(method):
    """Return the class that a method is written in."""
    return getattr(importlib.import_module(method.__module__), method.__qualname__.split(".")[0])


def code_of(thing):
    """Return the function that runs when this thing of convlib is called, None for others'."""
    if isinstance(thing, type):
        thing = thing.__init__
    is_ours = isinstance(thing, FunctionType) and thing.__module__.startswith("convlib.")
    has_source = is_ours and "<" not in thing.__code__.co_filename
    return thing if has_source else None


def parameters_of(thing):
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return {}
    names = inspect.signature(thing).parameters
    return {name: parameter for name, parameter in names.items() if name != "self"}


def returns_something(thing):
    if isinstance(thing, type):
        return False
    annotation = inspect.signature(thing).return_annotation
    if annotation is not inspect.Signature.empty:
        return annotation not in (None, "None")
    nodes = ast.walk(tree_of(thing))
    return any(isinstance(node, ast.Return) and node.value is not None for node in nodes)


# What there must be -----------------------------------------------------------------------------


def problems_of(thing):
    """Return what the reference would lack, each as a sentence."""
    docstring = inspect.getdoc(thing)
    sections = sections_of(docstring)
    problems = []
    is_method = "." in thing.__qualname__
    has_example = doctest.DocTestParser().get_examples(sections.get("Examples", ""))
    if not has_example and (not is_method or class_of(thing) is models.Sequential):
        problems.append("it has no example")
    links = chapter_links(docstring)
    if len(links) != 1 and not is_method:
        problems.append('it must say once: See chapter N, "A heading".')
    problems += dead_links(links, CHAPTERS / "a docstring", set())

    described = {}
    for title in ("Parameters", "Attributes"):
        described |= entries_of(sections.get(title, ""))
    for name, parameter in parameters_of(thing).items():
        if name not in described:
            problems.append(f"it does not say what {name} is")
        elif "rray" in str(parameter.annotation) and not has_shape(described[name]):
            problems.append(f"it does not say which shape {name} has")
    if returns_something(thing) and "Returns" not in sections:
        problems.append("it does not say what it returns")
    for name, text in (described | entries_of(sections.get("Returns", ""))).items():
        if re.search(r"\barray", name + text.partition("\n")[0]) and not has_shape(name + text):
            problems.append(f"it does not say which shape {name} has")

    if isinstance(thing, type) and issubclass(thing, layers.Layer) and "(samples" not in docstring:
        problems.append("it does not say which shapes go in and come out")

    told = set(entries_of(sections.get("Raises", "")))
    untold = raised_by(code_of(thing)) - told if code_of(thing) else set()
    problems += [f"it does not say when it raises {error}" for error in sorted(untold)]
    return problems


def has_shape(text):
    return "(" in text or "shape" in text


@each_thing
def test_the_reference_says_what_there_is_to_say(module, thing):
    assert problems_of(thing) == []


@pytest.mark.parametrize(
    ("thing", "before", "after", "problem"),
    [
        (functional.conv2d, ">>>", "", "it has no example"),
        (functional.conv2d, "See chapter 4", "Chapter 4", "it must say once: See chapter"),
        (functional.conv2d, "In symbols", "In signs", "04_patch_by_patch.ipynb has no such head"),
        (functional.conv2d, "groups : int", "parts : int", "it does not say what groups is"),
        (functional.conv2d, "w : (kernel height, kernel", "w : weights\n", "which shape w has"),
        (functional.conv2d, "Returns\n", "Gives\n", "it does not say what it returns"),
        (functional.conv2d, "\nTypeError", "\nOSError", "it does not say when it raises TypeError"),
        (functional.im2col, "RuntimeError", "OSError", "it does not say when it raises Runtime"),
        (layers.Conv2D, "ValueError", "KeyError", "it does not say when it raises ValueError"),
        (layers.Flatten, "samples", "images", "it does not say which shapes go in and come out"),
    ],
)
def test_what_is_missing_is_found(thing, before, after, problem, monkeypatch):
    docstring = inspect.getdoc(thing)
    assert before in docstring
    monkeypatch.setattr(thing, "__doc__", docstring.replace(before, after))
    assert any(problem in found for found in problems_of(thing)), problems_of(thing)


@pytest.mark.filterwarnings("error::UserWarning")
@each_thing
def test_its_example_runs_as_it_stands(module, thing):
    """In an empty namespace, so that it can be pasted; what it displays is not text."""
    if thing.__name__ == "load_data" and not getattr(module, "is_available", lambda: True)():
        pytest.skip(f"the example needs the data set {module.__name__}, which is not here")
    examples = doctest.DocTestParser().get_doctest(
        inspect.getdoc(thing), {}, thing.__qualname__, module.__file__, 0
    )
    InteractiveShell.instance()
    said = []
    with capture_output(stdout=False, stderr=False):
        doctest.DocTestRunner().run(examples, out=said.append)
    assert not said, "".join(said)
