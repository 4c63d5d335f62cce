"""What a person sees while a run works: one line per step, on stderr, never in the result.

On a terminal the line of the running step is a bar; elsewhere (a log file, CI) every step
prints one plain line when it ends, and a step longer than ten seconds says so in between.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

QUIET_S = 10.0


class Step:
    """The running step: how far it is, and what it will say when it ends."""

    def __init__(self, reporter: Reporter, name: str, bar: Progress | None, task: TaskID) -> None:
        self._reporter = reporter
        self._name = name
        self._bar = bar
        self._task = task
        self._spoke_at = time.monotonic()
        self.text = ""

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how far the step is.

        Args:
            done: parts finished.
            total: parts in all.
            note: a few words, such as the loss of a training step.
        """
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)
        elif time.monotonic() - self._spoke_at > QUIET_S:
            self._spoke_at = time.monotonic()
            self._reporter.say(f"     {self._name}: {done} of {total} {note}".rstrip())

    def say(self, text: str) -> None:
        """Tell in one line what the person must know although the step goes on."""
        self._reporter.say(f"     {self._name}: {text}")

    def result(self, text: str) -> None:
        """Set the words that the finished line shows."""
        self.text = text


class Reporter:
    """Prints steps to one stream.

    Args:
        stream: where lines go, stderr by default.
        enabled: False says nothing at all (tests, inner runs).
    """

    def __init__(self, stream: TextIO | None = None, *, enabled: bool = True) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True)
        self._nested = False

    @property
    def live(self) -> bool:
        """True when a moving bar makes sense."""
        return self._enabled and self._console.is_terminal

    def say(self, text: str) -> None:
        """Print one line."""
        if self._enabled:
            self._console.print(text, markup=False)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show one step from start to end.

        Args:
            name: the verb of the step, at most two words.

        Yields:
            The step, to be told how far it is and what came out.
        """
        started = time.monotonic()
        bar = self._bar() if self.live and not self._nested else None
        if bar is None:
            step = Step(self, name, None, TaskID(0))
            yield step
        else:
            self._nested = True
            try:
                with bar:
                    task = bar.add_task(name, total=None, note="")
                    step = Step(self, name, bar, task)
                    yield step
            finally:
                self._nested = False
        self.say(f"  {name:<12} {step.text:<62} {time.monotonic() - started:6.1f} s")

    def _bar(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}% {task.fields[note]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
