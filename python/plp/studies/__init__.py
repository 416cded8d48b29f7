"""Methods side by side: the same start and the same mini-batches for each, repeated over seeds.

From the bottom: ``records`` (runs and studies as data) and ``statistics``; ``tasks`` (a run to be made, and our
engine); ``leases``, ``metrics`` and ``runs`` (its folder: who holds it, what is told there, how a run is made in it);
``files`` (the study's), ``methods`` and ``space``; ``executors`` and ``spreading`` (other processes); ``running`` (who
trains what). ``answers`` says what the runs allow to say, ``curves`` what they did, ``table``, ``plots``, ``charts``
and ``report`` show it.
"""

from .files import merge
from .grids import grid
from .leases import stop
from .records import Answer, Run, Settings, Study
from .running import compare
from .tasks import Task, engine

__all__ = ["Answer", "Run", "Settings", "Study", "Task", "compare", "engine", "grid", "merge", "stop"]
