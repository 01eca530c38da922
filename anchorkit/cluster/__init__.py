"""A search over a data set that is too big for one machine: its images lie on the workers of a Dask cluster.

`ShardedEvaluator` answers what `anchorkit.Evaluator` answers, with the same bits, and can be searched like it.
Everything else about the cluster (starting it, growing it, watching it) is Dask's.
"""

from anchorkit.cluster.evaluator import ShardedEvaluator
from anchorkit.cluster.scheduler import connect

__all__ = ["ShardedEvaluator", "connect"]
