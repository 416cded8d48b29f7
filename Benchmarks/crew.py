"""What threads do with a pass, in simulated time: the rules of Threads.swift, Order.swift and Crew.swift.

A section is what scaling.py records of one step of a pass: `needs`, the sections that have to end before; `serial`,
seconds outside of loops; and `loops`, each with the seconds of its `parts` and whether it `isBackward`.
"""

from heapq import heappop, heappush

FEWEST_FOR_TWO_STEPS = 5  # threads: see Threads.swift


class Stream:
    """A row of loops, each begun when the one before has ended."""

    def __init__(self):
        self.shares, self.loops, self.inside = [], 0, 0

    def open(self, loop, threads):
        parts = loop["parts"]
        workers = min(threads, len(parts))
        edges = [len(parts) * worker // workers for worker in range(workers + 1)]
        shares = [parts[first:end] for first, end in zip(edges, edges[1:])]
        self.shares = [iter(share[::-1] if loop["isBackward"] else share) for share in shares]
        self.loops += 1

    def parts(self, worker):
        """Those of a worker's own share first, then those that others have not begun."""
        for offset in range(len(self.shares)):
            yield from self.shares[(worker + offset) % len(self.shares)]


class Pass:
    """Sections that threads compute. A worker is a generator: of seconds, or None until something has changed."""

    def __init__(self, sections, threads, barrier):
        self.sections, self.threads, self.barrier = sections, threads, barrier
        self.streams = (Stream(), Stream())
        self.missing = [set(section["needs"]) for section in sections]
        self.left = list(range(len(sections)))
        self.running = 0
        self.has_changed = False

    def seconds(self):
        """How long they all take."""
        if self.threads == 1:
            return sum(map(alone, self.sections))
        leaders = 2 if self.threads >= FEWEST_FOR_TWO_STEPS else 1
        workers = [(self.lead if worker < leaders else self.serve)(worker) for worker in range(self.threads)]
        ready, waiting = [(0.0, worker) for worker in range(self.threads)], []
        while True:
            time, worker = heappop(ready)
            pause = next(workers[worker])
            if not (self.left or self.running):
                return time
            if pause is None:
                waiting.append(worker)
            else:
                heappush(ready, (time + pause, worker))
            if self.has_changed:
                self.has_changed = False
                for other in waiting:
                    heappush(ready, (time, other))
                waiting = []

    def lead(self, worker):
        own, other = self.streams[worker], self.streams[1 - worker]
        seen = 0
        while True:
            section = next((index for index in self.left if not self.missing[index]), None)
            if section is not None:
                self.left.remove(section)
                self.running += 1
                yield from self.compute(self.sections[section], own, worker)
                self.running -= 1
                for missing in self.missing:
                    missing.discard(section)
                self.has_changed = True
            elif other.loops != seen:
                seen = other.loops
                yield from self.help(other, worker)
            else:
                yield None

    def compute(self, section, stream, worker):
        yield section["serial"]
        for loop in section["loops"]:
            if len(loop["parts"]) < 2:
                yield sum(loop["parts"])
                continue
            stream.open(loop, self.threads)
            self.has_changed = True
            yield from stream.parts(worker)
            while stream.inside:
                yield None
            yield self.barrier

    def help(self, stream, worker):
        stream.inside += 1
        yield from stream.parts(worker)
        stream.inside -= 1
        self.has_changed = True

    def serve(self, worker):
        seen = [0, 0]
        while True:
            for number in (worker % 2, 1 - worker % 2):
                stream = self.streams[number]
                if stream.loops != seen[number]:
                    seen[number] = stream.loops
                    yield from self.help(stream, worker)
                    break
            else:
                yield None


def alone(section):
    """Seconds of a section on one thread."""
    return section["serial"] + sum(sum(loop["parts"]) for loop in section["loops"])


def passes(sections):
    """A step's sections, divided into passes: what needs all before it, and is needed by all behind it, is one."""
    first = 0
    result = []
    for index, section in enumerate(sections):
        if section.get("needs") is None:
            result.append([{**section, "needs": []}])
            first = index + 1
        else:
            if index == first:
                result.append([])
            result[-1].append({**section, "needs": [need - first for need in section["needs"]]})
    return result
