"""Methods side by side: the same start and the same mini-batches for each, repeated over seeds.

From the bottom: ``records`` (runs and studies as data) and ``statistics``; ``tasks`` (a run to be made, and our
engine), ``runs`` (its folder), ``files`` (the study's), ``executors`` (other processes) and ``running`` (who trains
what); ``answers`` says what the runs allow to say, ``curves`` what they did, ``table``, ``plots``, ``charts`` and
``report`` show it.
"""

from .files import merge
from .grids import grid
from .records import Answer, Run, Settings, Study
from .running import compare
from .runs import stop
from .tasks import Task, engine

__all__ = ["Answer", "Run", "Settings", "Study", "Task", "compare", "engine", "grid", "merge", "stop"]
