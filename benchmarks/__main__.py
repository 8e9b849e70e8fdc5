"""The command line: ``python3 book.py bench``, or ``python -m benchmarks``."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import layers, machine, memory, network, profile, report
from benchmarks.settings import prepared

TABLES = {"network": network, "layers": layers, "memory": memory, "profile": profile}
RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for; return 1 if a floor is broken."""
    parser = argparse.ArgumentParser(prog="book.py bench", description="Measure convlib's speed.")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="the Python that has the peers"
    )
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    options.results.mkdir(parents=True, exist_ok=True)
    with prepared(options.peers, options.quick) as settings:
        for name in options.tables or TABLES:
            speed = {"before": machine.speed(settings)}
            result = TABLES[name].measure(settings)
            result["speed"] = speed | {"after": machine.speed(settings)}
            result["machine"] = machine.description(settings)
            text = report.markdown(name, result)
            (options.results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
            (options.results / f"{name}.md").write_text(text, encoding="utf-8")
            print(f"\n{text}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
