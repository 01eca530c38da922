"""Work beside the kernel's message loop, so that buttons answer while it runs.

While a cell or a callback runs, a kernel reads no message: a Stop button would be dead. So work that takes longer than
a blink runs on a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs one piece of work at a time on a thread; of those that wait, only the newest.

    Args:
        done: takes the result, on the thread. It is not called for work that newer work has overtaken.
        failed: takes the exception, on the thread.
    """

    def __init__(self, done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        self._done, self._failed = done, failed
        self._lock = threading.Lock()
        self._next: Callable[[], T] | None = None
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether something runs or waits."""
        with self._lock:
            return self._thread is not None

    def submit(self, work: Callable[[], T]) -> None:
        """Run `work` as soon as what runs now is done; what waited until now is dropped."""
        with self._lock:
            self._next = work
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="anchorkit", daemon=True)
                self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing runs any more; False if it still does after `seconds`."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._lock:
                work, self._next = self._next, None
                if work is None:
                    self._thread = None
                    return
            try:
                result = work()
            except Exception as error:
                self._failed(error)
                continue
            with self._lock:
                overtaken = self._next is not None
            if not overtaken:
                self._done(result)
