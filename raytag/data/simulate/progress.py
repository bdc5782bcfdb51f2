"""How far a production is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Report"]


class Report:
    """Shows the steps of a production one after the other; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._is_live = self._console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._is_live,
            transient=True,
        )
        self._total = 1
        self._unit = ""
        self._tenths_shown = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, title: str, total: int, unit: str) -> None:
        """Begin a step of ``total`` units."""
        self._total, self._unit, self._tenths_shown = total, unit, 0
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._bar.add_task(title, total=total)
        if not self._is_live:
            self.say(title)

    def reach(self, done: int) -> None:
        """Show that ``done`` units of the step are finished."""
        done = min(done, self._total)
        self._bar.update(self._bar.task_ids[-1], completed=done)
        tenths = 10 * done // self._total
        if not self._is_live and tenths > self._tenths_shown:
            self._tenths_shown = tenths
            self.say(f"  {done:,} of {self._total:,} {self._unit}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
