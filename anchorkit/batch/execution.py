"""Executing notebooks with papermill, in the interpreter that runs anchorkit."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError
from anchorkit.files import replacing, says_no_room
from anchorkit.lighter import import_jsonschema

_ANSWERS_WITHIN = 60  # seconds for a process that has nothing to do; a dead one never answers


class NotebookError(RuntimeError):
    """A cell of a notebook failed with an error that no change of the input fixes."""


class KernelDiedError(NotebookError):
    """A notebook's process ended before the notebook: it was killed, or out of memory."""


class Kernel:
    """One Python process that executes notebooks one after the other, each in an empty namespace.

    Importing torch and Altair takes up to ten seconds, so one process imports them once for all notebooks. It starts
    with the first notebook and ends with the context.

    Args:
        folder: where the notebooks are executed; the attribute may be changed between two of them.
        log: the file for the process's own output (when it crashes, or is interrupted); by default ``kernel.log`` in
            the folder.
        held: open files that the process keeps open as long as it lives, such as a lock file.

    Attributes:
        heard: called with each line that a training reports; None ignores them.
    """

    heard: Callable[[str], None] | None = None

    def __init__(self, folder: Path, log: Path | None = None, held: Sequence[int] = ()) -> None:
        self.folder = folder
        self._log = log or folder / "kernel.log"
        self._held = tuple(held)
        self._manager: Any = None

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one; the next notebook gets a new one."""
        if self._manager is None:
            return
        from jupyter_core.utils import run_sync

        # As nbclient does with its own kernel; it is no error if the kernel is dead already.
        with contextlib.suppress(RuntimeError):
            run_sync(self._manager.shutdown_kernel)(now=True)
        run_sync(self._manager.cleanup_resources)()
        self._manager = None

    def execute(self, notebook: Path, output: Path, parameters: Mapping[str, Any]) -> None:
        """Execute `notebook` with `parameters`; `output` appears whole, and only if every cell succeeds.

        A failed notebook is kept beside it as ``NAME.failed.ipynb``.

        Raises:
            InputError: a cell raised InputError, or the disk is full.
            NotebookError: a cell raised any other error; the message ends with its traceback.
            KernelDiedError: the process ended before the notebook.
        """
        # Importing Jupyter takes long, so it is imported only here.
        import_jsonschema()
        import nbformat
        import papermill
        from nbclient.exceptions import DeadKernelError
        from papermill.exceptions import PapermillExecutionError

        logging.getLogger("papermill").setLevel(logging.ERROR)
        failed = output.with_suffix(".failed.ipynb")
        failed.unlink(missing_ok=True)
        with replacing(output) as temporary:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    papermill.execute_notebook(
                        _literal(notebook),
                        _literal(temporary),
                        parameters=dict(parameters),
                        kernel_name="python3",
                        language="python",
                        progress_bar=False,
                        cwd=self.folder,
                        km=self._ready(),
                        stdout_file=None if self.heard is None else _Reports(self.heard),
                    )
            except PapermillExecutionError as error:
                temporary.replace(failed)
                if error.ename == "InputError":
                    raise InputError(f"{notebook.stem}: {error.evalue}") from None
                if error.ename in {"OSError", "PermissionError"} and says_no_room(error.evalue):
                    raise InputError(f"{notebook.stem}: the disk is full ({error.evalue})") from None
                raise NotebookError(
                    f"{notebook.stem} failed: {error.ename}: {error.evalue}\nSee {failed}\n"
                    + "\n".join(error.traceback)
                ) from None
            except RuntimeError as error:
                # Dead, or it did not answer in time at the start, as happens if the system clock is set then.
                said = "" if isinstance(error, DeadKernelError) else f" ({error})"
                raise KernelDiedError(
                    f"{notebook.stem}: the notebook's process died (out of memory?){said}; see {self._log}"
                ) from None
            # Papermill notes its own temporary name.
            executed = nbformat.read(temporary, as_version=4)  # type: ignore[no-untyped-call]
            executed.metadata.papermill.update(input_path=notebook.name, output_path=output.name)
            nbformat.write(executed, temporary)  # type: ignore[no-untyped-call]

    def _ready(self) -> Any:
        """The manager of a process with an empty namespace; modules that earlier notebooks imported stay loaded."""
        if self._manager is not None and self._manager.has_kernel and not self._emptied():
            self.close()  # it died since the last notebook; the next one gets a new process
        if self._manager is None:
            self._manager = _manager(self._log, self._held)
        return self._manager

    def _emptied(self) -> bool:
        """Empty the namespace; False if the process is dead or does not answer."""
        from jupyter_core.utils import run_sync

        if not run_sync(self._manager.is_alive)():
            return False
        code = f"import os; os.chdir({str(self.folder)!r}); get_ipython().reset(new_session=True)"
        client = self._manager.blocking_client()
        client.start_channels()
        try:
            client.execute_interactive(code, silent=True, store_history=False, timeout=_ANSWERS_WITHIN)
        except TimeoutError:
            return False
        finally:
            client.stop_channels()
        return True


class _Reports(io.TextIOBase):
    """Takes what a notebook prints, and passes on the lines of a training as they come."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        super().__init__()
        self._heard = heard

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.startswith("training: "):
                self._heard(line.removeprefix("training: "))
        return len(text)


def _manager(log_file: Path, held: Sequence[int]) -> Any:
    """A kernel manager for the running interpreter; kernels that are installed as python3 are not used."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Python 3", language="python")

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # declared for both kinds
            with log_file.open("ab") as log:
                await super().start_kernel(stdout=log, stderr=log, pass_fds=held, **options)

    return ThisInterpreter()


def _literal(path: Path) -> str:
    """A path with its braces escaped, because papermill reads braces as fields to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")
