"""What the package logs, as lines on standard error, and `-v`, which says how much of it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import click

from .text import say

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_logger = logging.getLogger("vidcolor")


class _Lines(logging.Handler):
    """Shows log records as lines such as `warning: ...`, and where an error was raised."""

    def __init__(self, show: Callable[[str], None], once: str | None) -> None:
        super().__init__()
        self._show, self._once = show, once
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        line = f"{record.levelname.lower()}: {record.getMessage()}"
        if self._once is not None and record.name.startswith(self._once):
            if line in self._said:
                return
            self._said.add(line)
        self._show(line)
        if record.exc_info:
            for part in traceback.format_exception(*record.exc_info):
                for line in part.splitlines():
                    self._show(line)


def show_log(
    show: Callable[[str], None] = lambda line: say(line, err=True), *, once: str | None = None
) -> None:
    """Give the package's log to `show`, line by line, from now on.

    Args:
        show: prints a line.
        once: the beginning of the names of loggers whose lines are not repeated.
    """
    _logger.handlers = [_Lines(show, once)]
    _logger.propagate = False


def show_errors_only() -> None:
    """Show no warnings."""
    _logger.setLevel(logging.ERROR)


def _set_level(context: click.Context, parameter: click.Parameter, count: int) -> None:
    _logger.setLevel(_LEVELS[min(count, len(_LEVELS) - 1)])


verbosity: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "-v",
    "--verbose",
    count=True,
    expose_value=False,
    callback=_set_level,
    help="Also print decisions, such as the device; -vv: and where unexpected errors were raised.",
)
