"""The arithmetic of the benchmarks, and that they run; how fast anything is decides no test."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import floors, layers, measure, pictures, readme, report
from benchmarks.contestants import ours
from benchmarks.recorder import recording
from benchmarks.settings import PEERS
from benchmarks.worker import Worker
from benchmarks.workload import Convolution, product_flops, training_flops
from convlib.kernels import get_backend

FIGURES = {name: peer for table in command.TABLES.values() for name, peer in table.FIGURES.items()}


# Counting


def test_a_product_has_two_operations_for_each_term():
    assert product_flops((2, 3), 5) == 2 * 3 * 5 * 2


def test_both_gradients_count_but_that_of_the_images():
    assert training_flops([10, 20, 30]) == (10 + 20 + 30) + (20 + 30) + (10 + 20 + 30)


def test_the_operations_of_the_network_are_those_worked_by_hand():
    forward = [
        2 * 26 * 26 * 32 * 9,
        2 * 11 * 11 * 64 * 9 * 32,
        2 * 3 * 3 * 64 * 9 * 64,
        2 * 576 * 64,
        2 * 64 * 10,
    ]
    assert sum(forward) == 5_588_480
    assert ours.flops_of_network()() == {"forward": 5_588_480, "training": 16_376_064}


@pytest.mark.parametrize(
    ("layer", "output_size", "terms"),
    [
        (Convolution(224, 3, 64, 3), 224, 27),
        (Convolution(224, 3, 64, 7, strides=2), 112, 147),
        (Convolution(28, 64, 64, 3, dilation=2), 28, 576),
        (Convolution(56, 128, 128, 3, strides=2, groups=128), 28, 9),
        (Convolution(13, 32, 64, 3, padding=0), 11, 288),
        (Convolution(56, 64, 128, 1, strides=2), 28, 64),
    ],
)
def test_the_operations_of_a_convolution(layer, output_size, terms):
    assert (layer.output_size, layer.terms) == (output_size, terms)
    assert layer.flops == 2 * layer.batch * output_size**2 * layer.filters * terms


def test_the_list_of_layers_is_long_and_has_no_layer_twice():
    everything = [layer for network in layers.LAYERS.values() for layer in network]
    assert len(everything) == len(set(everything)) >= 30
    names = {layer.name for layer in everything}
    assert {"7×7/2, 224×224, 3 → 64", "3×3 depthwise, 56×56, 64 → 64"} <= names
    assert any(layers.counts_for_the_peak(layer) for layer in everything)
    assert not layers.counts_for_the_peak(Convolution(56, 64, 64, 3, strides=2))


def test_the_recorded_kernels_add_up_to_the_operations_of_training():
    model, batch = ours.compiled_network(), 4
    x, y = np.zeros((batch, 28, 28, 1), np.float32), np.eye(10, dtype=np.float32)[:batch]
    plain_name = get_backend().conv2d_forward
    with recording(get_backend()) as recorder:
        model.fit(x, y, batch_size=batch, verbose=0)
    assert get_backend().conv2d_forward is plain_name
    assert sum(row["flops"] for row in recorder.calls.values()) == 16_376_064 * batch
    assert all(0 < row["compiled"] <= row["seconds"] for row in recorder.calls.values())
    gathers = [row for name, row in recorder.calls.items() if name.startswith("gather")]
    assert [row["bytes"] for row in gathers] == [8 * batch + 2 * a.nbytes for a in (x, y)]


# Taking turns


class FakeJob:
    def __init__(self, name, seconds, turns):
        self.name, self._seconds, self._turns = name, iter(seconds), turns

    def seconds(self):
        self._turns.append(self.name)
        return next(self._seconds)


def test_contestants_take_turns_and_ratios_are_taken_within_a_round():
    turns = []
    jobs = {
        "a": FakeJob("a", [1.0, 10.0, 2.0], turns),
        "b": FakeJob("b", [3.0, 20.0, 8.0], turns),
    }
    times = measure.alternate(jobs, 3)
    assert turns == ["a", "b"] * 3
    assert measure.median_ratio(times["b"], times["a"]) == 3.0
    assert measure.fastest(times) == "a"
    assert measure.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_a_worker_believes_a_job_that_takes_the_time_itself():
    worker, runs = Worker("ours"), []
    worker._jobs = {"own": lambda: {"seconds": 2.0}, "counted": lambda: runs.append(1)}
    assert worker.seconds("own", 3) == 2.0
    assert 0 <= worker.seconds("counted", 4) < 2.0
    assert len(runs) == 5, "the first of several runs is not timed"


def test_a_contestant_passes_on_what_went_wrong():
    contestant = measure.Contestant("ours")
    try:
        with pytest.raises(measure.ContestantFailed, match="KeyError: 'no such job'"):
            contestant.ask("prepare", name="x", job="no such job", options={})
        assert contestant.ask("introduce")["name"] == "convlib"
        contestant._process.kill()
        with pytest.raises(measure.ContestantFailed, match="ended without a word"):
            contestant.ask("introduce")
    finally:
        contestant.stop()


def test_a_peer_that_is_not_installed_says_so():
    contestant = measure.Contestant("no_such_peer")
    try:
        with pytest.raises(measure.ContestantFailed, match="ModuleNotFoundError"):
            contestant.ask("introduce")
    finally:
        contestant.stop()


# Floors


def test_every_floor_is_about_a_figure_that_is_measured():
    assert {name for limits in floors.load().values() for name in limits} <= set(FIGURES)
    assert set(floors.load()) == {"at_least", "at_most"}
    assert set(filter(None, FIGURES.values())) <= set(PEERS)


def test_broken_floors_are_named_and_floors_on_absent_peers_are_skipped():
    limits = {"at_least": {"a": 2.0, "b": 2.0, "c": 2.0, "d": 2.0}, "at_most": {"e": 1.0, "f": 1.0}}
    wanted = {"a": None, "b": None, "c": "pytorch", "e": None, "f": "pytorch"}
    figures = {"a": 2.0, "b": 1.999, "e": 1.001, "f": 1.0}
    assert floors.verdicts(limits, figures, wanted, []) == [
        ("holds", "a is 2.000; at least 2"),
        ("BROKEN", "b is 1.999; at least 2"),
        ("skipped", "c: PyTorch is not installed"),
        ("BROKEN", "e is 1.001; at most 1"),
        ("holds", "f is 1.000; at most 1"),
    ]
    assert floors.verdicts(limits, {}, {"c": "pytorch"}, ["pytorch"]) == [
        ("skipped", "c: not measured here")
    ]


def test_the_exit_status_tells_whether_a_floor_is_broken(capsys):
    name, limit = next(iter(floors.load()["at_most"].items()))
    assert command.check({name: limit}, {name: None}, []) == 0
    assert command.check({name: 1.01 * limit}, {name: None}, []) == 1
    assert f"BROKEN  {name}" in capsys.readouterr().out


def test_a_measurement_that_breaks_a_floor_ends_with_that_status(monkeypatch, tmp_path):
    figures = dict.fromkeys(command.fixed.FIGURES, 1e9)
    monkeypatch.setattr(command.fixed, "measure", lambda _: {"tables": [], "figures": figures})
    arguments = ["fixed", "--quick", "--results", str(tmp_path)]
    assert command.main([*arguments, "--check"]) == 1
    assert command.main(arguments) == 0


# Reports


def test_a_table_formats_numbers_and_leaves_gaps():
    text = report.table([["name", "s"], ["ms", ".1f"]], [["a", 1.25], ["b", None]])
    assert text == "| name | ms |\n| --- | ---: |\n| a | 1.2 |\n| b |  |\n"


def test_unknown_tables_are_refused_and_quick_runs_leave_the_results_alone(capsys):
    for arguments in (["netwrok"], ["--quick"]):
        with pytest.raises(SystemExit) as stopped:
            command.parsed(arguments)
        assert stopped.value.code == 2
    assert "there is no table netwrok" in capsys.readouterr().err


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The folder of results of the smallest run there is."""
    folder = tmp_path_factory.mktemp("results")
    assert command.main(["--quick", "--results", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", command.TABLES)
def test_everything_runs_and_is_written_down(name, quick):
    result = json.loads((quick / f"{name}.json").read_text(encoding="utf-8"))
    assert_names_no_place(quick / f"{name}.json")
    figures, known = result["figures"], command.TABLES[name].FIGURES
    assert set(figures) <= set(known)
    assert all(map(math.isfinite, figures.values()))
    # Python's share compares two runs, of two steps here, of which the machine may slow down one.
    assert all(figures[figure] >= 0 for figure in set(figures) - {command.profile.PYTHON_FIGURE})
    missing = {figure for figure, peer in known.items() if peer is None} - set(figures)
    assert not missing - {command.network.THREADS_FIGURE}
    page = (quick / f"{name}.md").read_text(encoding="utf-8")
    assert all(f"| {figure} |" in page for figure in figures)
    assert result["machine"]["processor"] in page


def test_pictures_are_drawn_from_what_a_run_with_peers_gives(quick):
    rows = [
        [batch, name, "", 1000.0 * batch, 1.0]
        for batch in (16, 64)
        for name in ("convlib", "PyTorch", "Keras/TensorFlow")
    ]
    bars = pictures.network({"tables": [{"rows": rows}]}).axes[0]
    assert sorted(bar.get_width() for bar in bars.patches) == sorted(row[3] for row in rows)
    layer = ["a network", "a layer", 8]
    passes = layers.PASSES.values()
    rows = [[*layer, name, 1.0, 1.0, 1.0, 1.5, "contiguous"] for name in passes]
    dots = pictures.layers({"tables": [{"rows": rows}]}).axes[0].collections
    assert [points.get_offsets()[0][0] for points in dots] == [1.5] * 3
    assert (quick / "network.png").exists()


# The results that are committed


def assert_names_no_place(path: Path) -> None:
    assert not re.search(r'["\s](/\w+){2}|[A-Z]:\\', path.read_text(encoding="utf-8"))


def committed() -> list[Path]:
    return sorted(command.RESULTS.glob("*.json"))


@pytest.mark.parametrize("path", committed(), ids=lambda path: path.stem)
def test_committed_results_are_whole_and_their_pages_up_to_date(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert_names_no_place(path)
    assert set(result["figures"]) <= set(command.TABLES[path.stem].FIGURES)
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert page == report.markdown(path.stem, result)


def test_the_readme_says_what_the_committed_results_say(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(readme.README.read_text(encoding="utf-8"), encoding="utf-8")
    readme.update(command.RESULTS, copy)
    assert copy.read_text(encoding="utf-8") == readme.README.read_text(encoding="utf-8")
