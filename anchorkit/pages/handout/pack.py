"""A table as text for the page: streams of whole numbers, gzip, base64. `unpack.js` reads it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from anchorkit.evaluation.loops.tables import Array
from anchorkit.evaluation.sorting import starts_of
from anchorkit.pages.handout.table import Table


def pack(table: Table, facts: Mapping[str, Any], streams: Mapping[str, Array] | None = None) -> str:
    """A table and other facts as base64 text. The same input gives the same text.

    Unzipped: the length of a JSON object (4 bytes, low byte first), the object, and the streams that its ``streams``
    names, one after another, each with its count of numbers and of bytes per number. First come the low bytes of all
    numbers of a stream, then the next ones: so each gets the code of gzip that fits it.

    Rows are numbered image by image, class by class, best first. The streams of a table:

    ====================  ==============================================================================================
    ``image``             image of each row class by class, best first: differences, modulo the number of images
    ``anchor``            anchor of each row
    ``n_victims``         how many rows each row suppresses; ``victim``: which, as differences from the one before
    ``n_pairs``           how many annotated boxes each row could match; ``pair_truth``: which of its group;
                          ``pair_passed``: IoU thresholds reached
    ``n_truths``          how many annotated boxes each group has; ``truth``: 1 if it is to be found, plus 2 for a crowd
    ``visit``             the class of each row of the images in ``limited``, in the detector's order
    ``outside``           rows that are no false alarm, as differences; ``limited``, ``topped``: images, likewise
    ====================  ==============================================================================================

    Args:
        table: what decides AP.
        facts: more entries for the JSON object.
        streams: more streams of whole numbers, 0 and up.
    """
    by_class = np.lexsort((table.order, table.klass))
    start, sizes = table.group_start, np.diff(table.victim_start)
    source = np.repeat(np.arange(len(table)), sizes)
    before = np.append(0, table.victim[:-1])
    before[table.victim_start[:-1][sizes > 0]] = source[table.victim_start[:-1][sizes > 0]]
    group = np.repeat(np.arange(len(start) - 1), np.diff(start))
    pairs = np.diff(table.pair_start)
    # Annotated boxes are numbered by image and class, as groups are: those of a group follow each other.
    truth, where = np.unique(table.pair_truth, return_inverse=True)
    truth_group = np.empty(len(truth), np.int64)
    truth_group[where] = np.repeat(group, pairs)
    n_truths = np.bincount(truth_group, minlength=len(start) - 1)
    limited = np.flatnonzero(table.limited)
    visited = np.flatnonzero(table.limited[table.image])
    own = {
        "image": np.diff(table.image[by_class], prepend=0) % max(table.n_images, 1),
        "anchor": table.anchor,
        "n_victims": sizes,
        "victim": table.victim - before,
        "n_pairs": pairs,
        "pair_truth": where - starts_of(n_truths)[np.repeat(group, pairs)],
        "pair_passed": table.pair_passed,
        "n_truths": n_truths,
        "truth": table.real[truth] + 2 * table.crowd[truth],
        "visit": table.klass[visited[np.lexsort((table.order[visited], table.image[visited]))]],
        "outside": np.diff(np.flatnonzero(table.outside), prepend=0),
        "limited": np.diff(limited, prepend=0),
        "topped": np.diff(np.flatnonzero(table.topped), prepend=0),
    }
    everything = {name: planes(values) for name, values in {**own, **(streams or {})}.items()}
    head = {
        "images": table.n_images,
        "class_sizes": np.bincount(table.klass, minlength=len(table.n_real)).tolist(),
        "n_real": table.n_real.tolist(),
        "thresholds": table.n_thresholds,
        "most_counted": table.most_counted,
        "topk": table.post.topk,
        "topk_scope": table.post.topk_scope,
        "cap": table.post.max_detections,
        **facts,
        "streams": {name: values.shape[::-1] for name, values in everything.items()},
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    return zipped(
        b"".join([len(text).to_bytes(4, "little"), text, *(values.tobytes() for values in everything.values())])
    )


def zipped(data: bytes) -> str:
    """Bytes as gzip as base64; `inflate.js` reads it."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def planes(values: Array) -> Array:
    """uint8 (bytes per number, n): the low bytes of whole numbers below 2**32, the next ones, and so on."""
    numbers = np.asarray(values, "<u4")
    n_bytes = max(1, (int(numbers.max(initial=0)).bit_length() + 7) // 8)
    return np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, 4).T[:n_bytes])
