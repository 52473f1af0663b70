"""The kernel's OOM report, read line by line: 4.15 to 7.x, and the older forms that cost nothing."""

from oombot.oom_report.parser import OomReportParser

__all__ = ["OomReportParser"]
