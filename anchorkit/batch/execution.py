"""Executing one notebook with papermill, in the interpreter that runs anchorkit."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError
from anchorkit.files import replacing

_DISK_FULL = {os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), os.strerror(errno.EFBIG)}


class NotebookError(RuntimeError):
    """A cell of a notebook failed with an error that no change of the input mends."""


def execute(notebook: Path, output: Path, parameters: Mapping[str, Any], folder: Path) -> None:
    """Execute `notebook` with `parameters` in `folder`; `output` appears whole, and only if every cell succeeds.

    A notebook that fails is kept beside it as ``NAME.failed.ipynb``. What the kernel's process itself says (when it
    crashes, or is interrupted) goes to ``kernel.log`` in `folder`.

    Raises:
        InputError: a cell raised InputError, or the disk is full.
        NotebookError: a cell raised any other error; the message ends with its traceback.
    """
    # Jupyter takes more than a second to import: not before it is needed.
    import nbformat
    import papermill
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    class ThisInterpreter(AsyncKernelManager):
        """Starts the running interpreter as kernel, whatever kernels this machine has under the name python3."""

        @property
        def kernel_spec(self) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Python 3", language="python")

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # declared for both kinds
            with (folder / "kernel.log").open("wb") as log:
                await super().start_kernel(stdout=log, stderr=log, **options)

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
                    cwd=folder,
                    kernel_manager_class=ThisInterpreter,
                )
        except PapermillExecutionError as error:
            temporary.replace(failed)
            if error.ename == "InputError":
                raise InputError(f"{notebook.stem}: {error.evalue}") from None
            if error.ename in {"OSError", "PermissionError"} and any(text in error.evalue for text in _DISK_FULL):
                raise InputError(f"{notebook.stem}: the disk is full ({error.evalue})") from None
            raise NotebookError(
                f"{notebook.stem} failed: {error.ename}: {error.evalue}\nSee {failed}\n" + "\n".join(error.traceback)
            ) from None
        except DeadKernelError:
            raise NotebookError(
                f"{notebook.stem}: the notebook's process died (out of memory?); see {folder / 'kernel.log'}"
            ) from None
        # Papermill notes its own temporary name.
        executed = nbformat.read(temporary, as_version=4)  # type: ignore[no-untyped-call]
        executed.metadata.papermill.update(input_path=notebook.name, output_path=output.name)
        nbformat.write(executed, temporary)  # type: ignore[no-untyped-call]


def _literal(path: Path) -> str:
    """A path that papermill takes as it is: it reads braces as fields to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")
