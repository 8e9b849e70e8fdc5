"""The command line: ``python3 book.py bench``, or ``python -m benchmarks``."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

from benchmarks import (
    fixed,
    floors,
    gpu_layers,
    gpu_network,
    ladder,
    layers,
    machine,
    memory,
    network,
    pictures,
    profile,
    readme,
    report,
)
from benchmarks.settings import Settings, prepared

TABLES = {
    "cpu": {
        "network": network,
        "layers": layers,
        "memory": memory,
        "profile": profile,
        "ladder": ladder,
        "fixed": fixed,
    },
    "cuda": {"gpu-network": gpu_network, "gpu-layers": gpu_layers},
}
RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for and write it down; return 1 if a floor is broken, or no GPU."""
    options = parsed(arguments)
    if options.backend == "cuda" and (problem := machine.missing_gpu()):
        print(f"Nothing was measured: {problem}", file=sys.stderr)
        return 1
    # For every process that is started, and none is to look for a GPU by itself.
    os.environ["CONVLIB_BACKEND"] = options.backend
    tables = TABLES[options.backend]
    figures, wanted = {}, {}
    with prepared(options.peers, options.quick, options.backend) as settings:
        for name in options.tables or tables:
            result = measured(name, tables[name], settings)
            write(name, result, options.results)
            if options.results == RESULTS:
                readme.update(RESULTS)
            figures |= result["figures"]
            wanted |= tables[name].FIGURES
        peers = settings.peers
    return check(figures, wanted, peers) if options.check else 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="book.py bench",
        description="Measure how fast convlib is, beside its peers where they are installed.",
    )
    parser.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help=f"{', '.join(TABLES['cpu'])}; on a GPU {', '.join(TABLES['cuda'])}; all if none is "
        f"named",
    )
    parser.add_argument(
        "--backend",
        choices=TABLES,
        default="cpu",
        help="what convlib computes on; cuda needs a GPU (default: cpu)",
    )
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="the Python that has the peers"
    )
    parser.add_argument("--check", action="store_true", help="fail if a floor is broken")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="where to write, instead of benchmarks/results",
    )
    options = parser.parse_args(arguments)
    known = TABLES[options.backend]
    if unknown := set(options.tables) - set(known):
        parser.error(
            f"there is no table {', '.join(sorted(unknown))} with --backend {options.backend}; "
            f"there are {', '.join(known)}"
        )
    if options.results is None:
        if options.quick:
            parser.error("--quick measures nothing of worth; say with --results where it may go")
        options.results = RESULTS
    return options


def measured(name: str, table: ModuleType, settings: Settings) -> dict:
    """Return one table's results, with the machine's speed before and after."""
    print(f"\nMeasuring: {name}", flush=True)
    start, before = time.perf_counter(), machine.speed(settings)
    result = table.measure(settings)
    return result | {
        "speed": {"before": before, "after": machine.speed(settings)},
        "machine": machine.description(settings),
        "minutes": (time.perf_counter() - start) / 60,
    }


def write(name: str, result: dict, folder: Path) -> None:
    """Write one table's results as JSON, Markdown and, where there is one, a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(
        json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    text = report.markdown(name, result)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    if name in pictures.PICTURES and (picture := pictures.PICTURES[name](result)):
        picture.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})
    print(f"\n{text}", flush=True)


def check(figures: dict[str, float], wanted: dict[str, str | None], peers: list[str]) -> int:
    """Print how the figures compare with the floors; return 1 if one is broken."""
    verdicts = floors.verdicts(floors.load(), figures, wanted, peers)
    for status, sentence in verdicts:
        print(f"{status:7} {sentence}")
    return int(any(status == "BROKEN" for status, _ in verdicts))


if __name__ == "__main__":
    sys.exit(main())
