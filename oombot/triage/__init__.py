"""Judges what a log and a host say, in sentences for people; it never renders, reads or decides."""

from oombot.triage.amounts import age, ordinal, size
from oombot.triage.diagnoses import Diagnosis, KillLine, diagnose
from oombot.triage.machine import Consumer, Memory, consumers, memory
from oombot.triage.matches import Match, find
from oombot.triage.overview import Overview, Seen, observed, overview, ranked, unheard
from oombot.triage.scores import ScoreLine
from oombot.triage.stories import KillStory, about_kill
from oombot.triage.targets import Target
from oombot.triage.verdicts import Answer
from oombot.triage.workloads import Workload, workload

__all__ = [
    "Answer",
    "Consumer",
    "Diagnosis",
    "KillLine",
    "KillStory",
    "Match",
    "Memory",
    "Overview",
    "ScoreLine",
    "Seen",
    "Target",
    "Workload",
    "about_kill",
    "age",
    "consumers",
    "diagnose",
    "find",
    "memory",
    "observed",
    "ordinal",
    "overview",
    "ranked",
    "size",
    "unheard",
    "workload",
]
