"""The chain of audit lines: each carries a hash over itself and the line before it, so that no change goes unseen.

SHA-256 over canonical JSON (sorted keys, no spaces, ASCII). The newest hash is also kept apart from the lines, and
goes into the log with every line: a tail that was cut off is missed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

from oombot.model import Json
from oombot.proposals import Audit, TrailLine

GENESIS: Final = "0" * 64  # what stands before the first line


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Where the chain does not hold, and why."""

    seq: int
    what: str


def link(seq: int, prev_hash: str, audit: Audit) -> TrailLine:
    """The line as it is chained after `prev_hash`."""
    return TrailLine(seq=seq, prev_hash=prev_hash, hash=digest(seq, prev_hash, audit), audit=audit)


def digest(seq: int, prev_hash: str, audit: Audit) -> str:
    """The hash of a line."""
    text = json.dumps(
        {"seq": seq, "prev_hash": prev_hash, **asdict(audit), "at_s": float(audit.at_s)},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def faults(lines: Iterable[TrailLine], head: tuple[int, str] | None) -> Iterator[Fault]:
    """What is wrong with the whole chain: a line that was changed, one that is missing, a tail that was cut off."""
    before, last = GENESIS, 0
    for line in lines:
        if line.prev_hash != before:
            yield Fault(
                seq=line.seq, what=f"what stood between lines {last} and {line.seq} is not there any more"
            )
        if line.hash != digest(line.seq, line.prev_hash, line.audit):
            yield Fault(seq=line.seq, what=f"line {line.seq} was changed after it was written")
        before, last = line.hash, line.seq
    if head is None and last:
        yield Fault(seq=last, what="the newest hash, which is kept apart, is missing")
    elif head is not None and head != (last, before):
        yield Fault(
            seq=last, what=f"the trail ends at line {last}, but line {head[0]} was written: its end was cut"
        )


def whole(line: TrailLine) -> bool:
    """Whether a single line is as it was written."""
    return line.hash == digest(line.seq, line.prev_hash, line.audit)


def exported(line: TrailLine) -> Json:
    """The line as one JSON object, with the names of the fields that it is made of."""
    return {"seq": line.seq, "prev_hash": line.prev_hash, "hash": line.hash, **asdict(line.audit)}
