"""A worker process: performs the tasks from standard input, one JSON object per line, and answers in the same form.

It ends when its standard input ends, so it never outlives the process that started it. Its notebooks' process ends with
it. Both keep the sweep's lock file open, so the folder is locked as long as one of them may still write.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path

import psutil

from anchorkit.batch.drive import Outcome
from anchorkit.batch.execution import Kernel
from anchorkit.batch.sweeps.tasks import Task, perform_task
from anchorkit.batch.sweeps.workers import kill_all


class _Requests(threading.Thread):
    """Reads standard input while a task is performed, to stop it or to end with the parent process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.stopping = False
        self.busy = False

    def run(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "task" in message:
                self.tasks.put(Task.from_dict(message["task"]))
            else:
                self.stopping = True
                _interrupt_notebooks()
                self.tasks.put(None)
        self.tasks.put(None)
        if self.busy:  # the parent has ended
            kill_all(psutil.Process().children(recursive=True))
            os._exit(1)


def main() -> None:
    log, held = Path(sys.argv[1]), [int(handle) for handle in sys.argv[2:]]
    # Standard output is for answers only; output of libraries goes to the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # The parent process decides when to stop. A handler, because children would inherit an ignored signal.
    signal.signal(signal.SIGINT, lambda *_: None)
    requests = _Requests()
    requests.start()
    with Kernel(Path(), log=log, held=held) as kernel:
        while (task := requests.tasks.get()) is not None and not requests.stopping:
            print(json.dumps(_answer(requests, task, kernel).to_dict()), file=answers, flush=True)
    sys.stderr.flush()
    os._exit(0)  # the thread may wait for input, and Python would not end


def _answer(requests: _Requests, task: Task, kernel: Kernel) -> Outcome:
    requests.busy = True
    try:
        outcome = perform_task(task, kernel)
    except Exception as error:  # a bug; the other runs continue, and the log has the traceback
        traceback.print_exc()
        kernel.close()
        outcome = Outcome(task.step.key, "failed", message=f"{type(error).__name__}: {error}")
    finally:
        requests.busy = False
    return Outcome(task.step.key, "stopped") if requests.stopping and outcome.state != "done" else outcome


def _interrupt_notebooks() -> None:
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ValueError):  # no such signal on Windows: killed later
            child.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
