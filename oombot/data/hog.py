"""A small process for the demo: it idles at a given size and eats memory when told to (standard library only).

Usage: hog.py NAME KEEP_MIB [CGROUP_PROCS_FILE]
It ends when its standard input ends, so that nothing is left behind; the line "grow" makes it eat until it dies.
"""

import contextlib
import ctypes
import sys

MIB = 1024 * 1024
PR_SET_NAME = 15


def main(name: str, keep_mib: int, procs_file: str | None = None) -> None:
    """Enter the cgroup, take a name, hold some memory, obey."""
    if procs_file:
        with open(procs_file, "w", encoding="ascii") as file:
            file.write("0")
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    held = [bytearray(b"x" * MIB) for _ in range(keep_mib)]
    print("ready", flush=True)
    for line in sys.stdin:
        while line.strip() == "grow":
            held.append(bytearray(b"x" * MIB))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
