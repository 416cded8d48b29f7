"""Methods side by side: the same start and the same mini-batches for each, repeated over seeds.

From the bottom: ``records`` (runs and studies as data) and ``statistics``; ``files`` (a study on disk) and ``running``
(who trains what); ``table``, ``plots`` and ``report`` show what there is.
"""

from .records import Run, Settings, Study
from .running import compare

__all__ = ["Run", "Settings", "Study", "compare"]
