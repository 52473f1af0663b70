"""Run something until Ctrl-C or SIGTERM, then let it clean up."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from oombot.errors import OombotError


def until_stopped(
    serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, level: int = logging.INFO
) -> None:
    """Run `serve(stop)`; the first signal sets `stop`, a second one ends at once. Known errors keep their class."""
    configure_logs(level)
    try:
        asyncio.run(_serve(serve))
    except BaseExceptionGroup as group:
        known, other = group.split(OombotError)
        if known is not None and other is None:
            raise _first(known) from group
        raise


async def _serve(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop_or_end, stop)
    await serve(stop)


def _stop_or_end(stop: asyncio.Event) -> None:
    if stop.is_set():
        sys.exit(130)
    stop.set()


def _first(group: BaseExceptionGroup[OombotError]) -> OombotError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")


def configure_logs(level: int) -> None:
    """One line per event on standard error: for people on a terminal, as JSON elsewhere."""
    on_terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer()
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
