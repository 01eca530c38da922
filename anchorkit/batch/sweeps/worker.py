"""A worker process: performs the tasks that come in on standard input, one JSON object a line, and answers likewise.

It ends when its standard input does, so it does not outlive whoever started it, however that one ended. Its notebooks'
process goes with it. Both keep the sweep's lock file open: as long as anybody may still write, the folder is locked.
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
    """Reads standard input while a task is performed: to stop it, or to end with whoever wrote."""

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
        if self.busy:  # nobody would hear the answer
            kill_all(psutil.Process().children(recursive=True))
            os._exit(1)


def main() -> None:
    log, held = Path(sys.argv[1]), [int(handle) for handle in sys.argv[2:]]
    # Standard output is for answers alone; whatever libraries print goes to the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Who started this process says when to stop. A handler, since what is ignored would be ignored by children too.
    signal.signal(signal.SIGINT, lambda *_: None)
    requests = _Requests()
    requests.start()
    with Kernel(Path(), log=log, held=held) as kernel:
        while (task := requests.tasks.get()) is not None and not requests.stopping:
            print(json.dumps(_answer(requests, task, kernel).to_dict()), file=answers, flush=True)
    sys.stderr.flush()
    os._exit(0)  # the thread may wait for input, on which Python would not end


def _answer(requests: _Requests, task: Task, kernel: Kernel) -> Outcome:
    requests.busy = True
    try:
        outcome = perform_task(task, kernel)
    except Exception as error:  # a bug; the other runs go on, and the log has the traceback
        traceback.print_exc()
        kernel.close()
        outcome = Outcome(task.step.key, "failed", message=f"{type(error).__name__}: {error}")
    finally:
        requests.busy = False
    return Outcome(task.step.key, "stopped") if requests.stopping and outcome.state != "done" else outcome


def _interrupt_notebooks() -> None:
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ValueError):  # Windows has no such signal: the grace runs out
            child.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
