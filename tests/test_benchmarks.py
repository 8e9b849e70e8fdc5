"""The arithmetic of the benchmarks, and that they run; how fast anything is decides no test."""

import json
import math
import os
import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import (
    floors,
    gpu_layers,
    gpu_network,
    layers,
    machine,
    measure,
    memory,
    pictures,
    readme,
    report,
    settings,
)
from benchmarks.contestants import ours
from benchmarks.recorder import recording
from benchmarks.settings import CONTESTANTS, PEERS, Entry, Settings
from benchmarks.worker import Worker
from benchmarks.workload import Convolution, product_flops, training_flops
from convlib.kernels import get_backend

TABLES = {name: table for tables in command.TABLES.values() for name, table in tables.items()}
FIGURES = {name: peer for table in TABLES.values() for name, peer in table.FIGURES.items()}


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


def test_a_worker_takes_the_time_with_the_clock_of_its_contestant(monkeypatch):
    class Clock:
        def start(self):
            runs.append("start")

        def stop(self):
            return 6.0

    monkeypatch.setattr(ours, "Clock", Clock, raising=False)
    worker, runs = Worker("ours"), []
    worker._jobs = {"counted": lambda: runs.append("run"), "own": lambda: {"seconds": 2.0}}
    assert worker.seconds("counted", 3) == 2.0
    assert runs == ["run", "start", "run", "run", "run"]
    assert worker.seconds("own", 3) == 2.0


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


def test_peers_that_are_not_there_are_left_out_and_others_go_wrong(monkeypatch, capsys):
    absent = Entry("Absent", "no_such_peer", "pip install absent")
    monkeypatch.setitem(CONTESTANTS, "cpu", {"ours": Entry("convlib", "ours"), "absent": absent})
    with settings.prepared(is_quick=True) as there:
        assert list(there.contestants) == ["ours"]
    printed = capsys.readouterr().out
    assert re.fullmatch(r"Absent is left out: No module .*\(pip install absent\)\.\n", printed)
    monkeypatch.setitem(CONTESTANTS, "cpu", {"ours": Entry("convlib", "no_such_peer")})
    with pytest.raises(measure.ContestantFailed), settings.prepared(is_quick=True):
        pass


# On a GPU: its tables with stand-ins, of which it is known how long they take


class StandIn:
    """A contestant whose jobs take the seconds that a function of their options says."""

    def __init__(self, seconds):
        self._options, self._seconds = {}, seconds

    def ask(self, request, name, job=None, options=None, runs=1):
        if request == "prepare":
            self._options[name] = {"job": job, **options}
            self._seconds(self._options[name])
        elif request == "seconds":
            return self._seconds(self._options[name])
        elif request == "result":
            return 10**12  # operations of the peak, bytes of copies and operations


def on_a_gpu(**contestants):
    there = {name: StandIn(seconds) for name, seconds in contestants.items()}
    introductions = {"ours": {"GPU memory": 80e9}}
    return Settings("cuda", there, introductions, Path("images"), "digits", 5, False)


def test_a_gpu_trains_in_turns_and_each_peer_in_its_better_layout():
    def seconds_of_pytorch(options):
        assert options["images"] in (60_000, 5120)
        slow = options["layout"] == "channels-last"
        return options["batch"] / 64 * (3.0 if options["graphs"] else 6.0) * (2 if slow else 1)

    result = gpu_network.measure(
        on_a_gpu(
            ours=lambda options: 2.0 if options["batch"] == 64 else 1.0,
            plain=lambda options: 5.0,
            pytorch=seconds_of_pytorch,
            pytorch_graphs=seconds_of_pytorch,
        )
    )
    assert result["figures"] == {
        "on a GPU, training in batches of 64: plain launches' time to graphs'": 2.5,
        "on a GPU, training in batches of 64: PyTorch's time to ours": 3.0,
        "on a GPU, training in batches of 64: PyTorch (CUDA graphs)'s time to ours": 1.5,
        "on a GPU, training in batches of 1024: plain launches' time to graphs'": 5.0,
        "on a GPU, training in batches of 1024: PyTorch's time to ours": 96.0,
        "on a GPU, training in batches of 1024: PyTorch (CUDA graphs)'s time to ours": 48.0,
    }
    assert set(result["figures"]) == set(gpu_network.FIGURES)
    rows = result["tables"][0]["rows"]
    assert [64, "convlib", "", 30_000, 1.0] in rows
    assert [64, "PyTorch (CUDA graphs)", "contiguous", 20_000, 1.5] in rows
    told = readme.about_gpu_network(result | {"machine": {"GPU": "A GPU"}})
    assert "On a GPU (A GPU)" in told
    assert "30,000 images a second in batches of 64" in told
    assert "PyTorch (CUDA graphs) takes 1.50 times as long" in told


def test_who_cannot_do_a_job_in_any_way_is_left_out_of_it(capsys):
    def fails(options):
        raise measure.ContestantFailed("RuntimeError: no graphs here")

    there = on_a_gpu(
        ours=lambda _: 1.0, plain=lambda _: 1.0, pytorch=lambda _: 2.0, pytorch_graphs=fails
    )
    figures = gpu_network.measure(there)["figures"]
    assert set(gpu_network.FIGURES) - set(figures) == {
        gpu_network.figure(batch, "pytorch_graphs") for batch in (64, 1024)
    }
    assert "(CUDA graphs), contiguous: left out, RuntimeError: no graphs here" in (
        capsys.readouterr().out
    )


def test_a_gpu_is_held_to_its_peak_its_bandwidth_and_its_peer():
    layer = gpu_layers.LAYERS[0]
    dense = layer.flops / 1e12 * 0.02  # seconds of so many operations at the peak

    def seconds_of_ours(options):
        kinds = {"multiply_add": 0.02, "copy": 0.03, "operation": 0.04, "convolution": 4 * dense}
        return kinds[options["job"]]

    def seconds_of_pytorch(options):
        base = {"operation": 0.02, "convolution": 2 * dense}[options["job"]]
        is_last = options.get("direction") == "backward_params" and options.get("size") == 14
        return base * (2 if options["layout"] == "contiguous" else 1) / (2 if is_last else 1)

    there = on_a_gpu(ours=seconds_of_ours, plain=None, pytorch=seconds_of_pytorch)
    figures = gpu_layers.measure(there)["figures"]
    assert set(figures) == set(gpu_layers.FIGURES)
    assert figures[gpu_layers.PEAK_FIGURE] == pytest.approx(0.25)
    assert figures[gpu_layers.CUDNN_FIGURE] == pytest.approx(0.25)
    for operation in memory.OPERATIONS:
        assert figures[memory.copy_figure(operation, "forward", gpu_layers.PLACE)] == 0.75
        assert figures[memory.peer_figure(operation, "forward", gpu_layers.PLACE)] == 0.5


def test_operations_have_a_gigabyte_or_what_a_small_gpu_can_hold():
    there = on_a_gpu()
    nbytes = 4 * math.prod(gpu_layers.IMAGE)
    assert gpu_layers.images(there) * nbytes > 1 << 30
    there.introductions["ours"]["GPU memory"] = 1e8
    assert gpu_layers.images(there) == 1
    there.introductions["ours"]["GPU memory"] = 8e9
    assert 0.9 * 8e9 / 24 < gpu_layers.images(there) * nbytes <= 8e9 / 24


def test_without_a_gpu_one_sentence_says_what_to_do(monkeypatch, capsys, tmp_path):
    def refuse(name):
        raise RuntimeError("there is no driver; install one")

    folder = tmp_path / "results"
    monkeypatch.setattr(machine.numba.config, "ENABLE_CUDASIM", 0)
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(machine, "get_backend", refuse)
    arguments = ["--backend", "cuda", "--results", str(folder)]
    assert command.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err == "Nothing was measured: there is no driver; install one.\n"
    assert not printed.out and not folder.exists()
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    assert command.main(arguments) == 1
    assert "pip install -r requirements-cuda.txt" in capsys.readouterr().err
    monkeypatch.setattr(machine.numba.config, "ENABLE_CUDASIM", 1)
    assert command.main(arguments) == 1
    assert "NUMBA_ENABLE_CUDASIM" in capsys.readouterr().err


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
    monkeypatch.setenv("CONVLIB_BACKEND", "cpu")  # restores what there was
    figures = dict.fromkeys(command.fixed.FIGURES, 1e9)
    monkeypatch.setattr(command.fixed, "measure", lambda _: {"tables": [], "figures": figures})
    arguments = ["fixed", "--quick", "--results", str(tmp_path)]
    assert command.main([*arguments, "--check"]) == 1
    assert command.main(arguments) == 0


@pytest.mark.parametrize("backend", command.TABLES)
def test_every_process_is_told_on_what_to_compute(backend, monkeypatch):
    @contextmanager
    def prepared(python, is_quick, asked):
        seen.append((asked, os.environ["CONVLIB_BACKEND"]))
        yield SimpleNamespace(peers=[])

    seen, nothing = [], {"figures": {}}
    monkeypatch.setenv("CONVLIB_BACKEND", "reference")
    monkeypatch.setattr(machine, "missing_gpu", lambda: None)
    monkeypatch.setattr(command, "prepared", prepared)
    monkeypatch.setattr(command, "measured", lambda name, *_: seen.append(name) or nothing)
    monkeypatch.setattr(command, "write", lambda *_: None)
    assert command.main(["--backend", backend, "--results", "folder"]) == 0
    assert seen == [(backend, backend), *command.TABLES[backend]]


# Reports


def test_a_table_formats_numbers_and_leaves_gaps():
    text = report.table([["name", "s"], ["ms", ".1f"]], [["a", 1.25], ["b", None]])
    assert text == "| name | ms |\n| --- | ---: |\n| a | 1.2 |\n| b |  |\n"


def test_unknown_tables_are_refused_and_quick_runs_leave_the_results_alone(capsys):
    for arguments in (["netwrok"], ["gpu-network"], ["--backend", "cuda", "memory"], ["--quick"]):
        with pytest.raises(SystemExit) as stopped:
            command.parsed(arguments)
        assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert "there is no table netwrok with --backend cpu; there are network, " in printed
    assert "no table memory with --backend cuda; there are gpu-network, gpu-layers" in printed


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The folder of results of the smallest run there is, with the CPU in place of a GPU."""
    folder = tmp_path_factory.mktemp("results")
    on_the_cpu = Entry("convlib", "ours", environment={"CONVLIB_BACKEND": "cpu"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLIB_BACKEND", "cpu")  # restores what there was
        assert command.main(["--quick", "--results", str(folder)]) == 0
        patch.setattr(machine, "missing_gpu", lambda: None)
        patch.setitem(CONTESTANTS, "cuda", {"ours": on_the_cpu, "plain": on_the_cpu})
        arguments = ["--backend", "cuda", "--quick", "--results", str(folder)]
        assert command.main(arguments) == 0
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_everything_runs_and_is_written_down(name, quick):
    result = json.loads((quick / f"{name}.json").read_text(encoding="utf-8"))
    assert_names_no_place(quick / f"{name}.json")
    figures, known = result["figures"], TABLES[name].FIGURES
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
    assert set(result["figures"]) <= set(TABLES[path.stem].FIGURES)
    assert ("GPU" in result["machine"]) == (path.stem in command.TABLES["cuda"])
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert page == report.markdown(path.stem, result)


def test_the_readme_says_what_the_committed_results_say(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(readme.README.read_text(encoding="utf-8"), encoding="utf-8")
    readme.update(command.RESULTS, copy)
    assert copy.read_text(encoding="utf-8") == readme.README.read_text(encoding="utf-8")


def test_the_readme_says_what_is_not_measured_until_it_is(tmp_path):
    assert "on a GPU has not been measured yet" in readme.paragraph(tmp_path)
    machine_, rows = (
        {"GPU": "A GPU"},
        [[64, "convlib", "", 1.0, 1.0], [1024, "convlib", "", 2.0, 1]],
    )
    result = {"machine": machine_, "tables": [{"rows": rows}], "figures": {}}
    (tmp_path / "gpu-network.json").write_text(json.dumps(result), encoding="utf-8")
    assert "not been measured" not in readme.paragraph(tmp_path)
    assert "On a GPU (A GPU): convlib trains" in readme.paragraph(tmp_path)


def test_a_page_says_on_which_gpu():
    described = {"processor": "P", "cores": 2, "vector bits": 256, "system": "S", "versions": {}}
    described |= {"images": "digits", "date": "today"}
    speed = {"before": {"GB/s": 1.0}, "after": {"GB/s": 2.0}}
    assert report.machine_paragraph(described, speed).startswith("P, 2 cores")
    assert report.machine_paragraph(described | {"GPU": "G"}, speed).startswith("G; P, 2 cores")
