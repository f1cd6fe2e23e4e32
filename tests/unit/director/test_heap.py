"""heap.py: objects that stay are left alone by the garbage collector, once there are many; and threads give way."""

import subprocess
import sys

_IN_A_PROCESS_OF_ITS_OWN = """
import gc, sys, weakref
from appliance.director import heap

heap.prepare()
assert sys.getswitchinterval() == heap.SWITCH_INTERVAL_S
assert gc.get_threshold()[0] > 700

kept = heap.Heap()
gc.freeze()
before = gc.get_freeze_count()
few = [[] for _ in range(5000)]
kept.keep(heap.MANY - 1)
assert gc.get_freeze_count() == before, "not worth it"
ring = []
ring.append(ring)
watched = weakref.ref(type("Ring", (), {})())
kept.keep(1)
assert gc.get_freeze_count() >= before + len(few)
assert watched() is None, "what has just become garbage is freed before"
frozen = gc.get_freeze_count()
del few[:]
assert gc.get_freeze_count() <= frozen - 5000, "what is in no cycle is freed all the same"
"""


def test_many_objects_are_left_alone_and_threads_give_way() -> None:
    """In a process of its own: what this freezes is frozen for good."""
    subprocess.run([sys.executable, "-c", _IN_A_PROCESS_OF_ITS_OWN], check=True)
