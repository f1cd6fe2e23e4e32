"""Rights of the director that its children need not have.

A service that does not run as root hands its capabilities on as ambient ones. Those for loading programs reach far: with CAP_BPF
and CAP_PERFMON together the memory of the kernel can be read. The workers, which read packets of strangers, get their maps by
descriptor, and the tools that the director calls need no map at all.
"""

import ctypes

_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER = 47, 3  # linux/prctl.h
_CAP_NET_BIND_SERVICE, _CAP_PERFMON, _CAP_BPF = 10, 38, 39  # linux/capability.h


def keep_loading_from_children() -> None:
    """From now on, programs that this process starts have neither CAP_BPF nor CAP_PERFMON, nor CAP_NET_BIND_SERVICE, which only
    health checks need, unless they run as root.

    It holds for this thread and for threads that it starts later. A kernel before 5.8 does not know them, and nothing happens.
    """
    libc = ctypes.CDLL(None)
    for capability in (_CAP_BPF, _CAP_PERFMON, _CAP_NET_BIND_SERVICE):
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER, capability, 0, 0)
