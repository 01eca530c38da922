# mypy: allow-untyped-calls
"""The connection to a Dask cluster."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anchorkit.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from distributed import Client

_REACHED_WITHIN = 3.0  # seconds


def connect(address: str, timeout: float = 30.0) -> Client:
    """A client of the Dask cluster whose scheduler is at an address, such as ``"tcp://10.0.0.1:8786"``.

    Args:
        address: what the scheduler says when it starts.
        timeout: seconds to wait for it.

    Raises:
        MissingExtraError: Dask is not installed (extra ``cluster``).
        InputError: nothing answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtraError("a cluster needs Dask: pip install 'anchorkit[cluster]'") from None
    try:
        return Client(address, timeout=timeout, set_as_default=False)
    except (TimeoutError, OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}): start one with `dask scheduler`, and "
            "workers with `dask worker ADDRESS`, and give the address that it says"
        ) from None


def can_be_reached(worker: str) -> bool:
    """Whether this process can reach a worker directly: a cluster may accept connections to its scheduler only.

    Args:
        worker: address, as ``"tcp://10.0.0.2:40331"``.
    """
    from distributed.comm.addressing import parse_address, parse_host_port

    protocol, place = parse_address(worker)
    if protocol not in ("tcp", "tls"):
        return protocol == "inproc"
    try:
        socket.create_connection(parse_host_port(place), timeout=_REACHED_WITHIN).close()
    except OSError:
        return False
    return True


@contextmanager
def plain_errors(address: str) -> Iterator[None]:
    """Turn the errors of a cluster into one line that says what happened and what to do.

    Raises:
        InputError: the connection is gone, or a piece of work killed its workers.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.client import ClosedClientError

    try:
        yield
    except KilledWorker as error:
        raise InputError(
            f"the cluster at {address}: workers died one after the other at the same images, most likely without "
            f"enough memory ({error.task}): use more shards, or workers with more memory. A search with a ledger "
            "continues where it stopped"
        ) from None
    except (CancelledError, ClosedClientError, OSError) as error:
        raise InputError(
            f"the cluster at {address} was lost ({type(error).__name__}): when it is back, start again with a new "
            "evaluator; a search with a ledger continues where it stopped"
        ) from None
