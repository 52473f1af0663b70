"""Runs the benchmarks: `make bench`, `make bench BENCH=reading`, `make bench BENCH=fleet N=50` for a quick look."""

import argparse
import importlib
import os
import sys

from benchmarks.figures import report

ALL = ("idle", "handshake", "triage", "card", "reading", "fleet", "outage")


def main() -> int:
    """Run those named, or all, one after the other: they would disturb each other."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument("--n", type=int, default=None, help="a small number, to see that a benchmark runs")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - set(ALL))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(ALL)}")
    if os.getloadavg()[0] > 1:
        print(
            f"The machine is busy (load {os.getloadavg()[0]:.1f}): these figures say little.", file=sys.stderr
        )
    met = True
    for name in asked.names or ALL:
        module = importlib.import_module(f"benchmarks.{name}")
        figures = module.run(asked.n)
        print(report(module.NAME, figures), flush=True)
        met = met and all(figure.met is not False for figure in figures)
    return 0 if met or asked.n else 1


if __name__ == "__main__":
    sys.exit(main())
