"""Hosts of the attached networks that do not say where they are (ARP)."""

import socket
import struct

from appliance.edge import rtnetlink

_LIST_NEIGHBOURS = 30  # linux/rtnetlink.h
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
"""struct ndmsg; the third field is the state of the neighbour."""
_DESTINATION = 1  # linux/neighbour.h
_NUD_FAILED = 0x20


def failed() -> set[str]:
    """The IPv4 addresses that the kernel has asked for in vain and has not found since. Blocks. Raises EdgeError."""
    listed = rtnetlink.listed(_LIST_NEIGHBOURS, _NEIGHBOUR.pack(socket.AF_INET, 0, 0, 0, 0))
    return {
        socket.inet_ntoa(value)
        for message in listed
        if _NEIGHBOUR.unpack_from(message)[2] & _NUD_FAILED
        for kind, value in rtnetlink.attributes(message, _NEIGHBOUR.size)
        if kind == _DESTINATION
    }
