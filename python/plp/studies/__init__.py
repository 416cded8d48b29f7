"""Methods side by side: the same start and the same mini-batches for each, repeated over seeds.

From the bottom: ``records`` (runs and studies as data) and ``statistics``; ``files`` (a study on disk) and ``running``
(who trains what); ``answers`` says what the runs allow to say, ``table``, ``plots`` and ``report`` show it.
"""

from .grids import grid
from .records import Answer, Run, Settings, Study
from .running import compare

__all__ = ["Answer", "Run", "Settings", "Study", "compare", "grid"]
