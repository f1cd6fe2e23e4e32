"""IPsec policies of this network namespace, as `ip xfrm policy count` shows them."""

import errno
import socket
import struct

from appliance.edge.errors import EdgeError

_NETLINK_XFRM = 6
_GET_SPD_INFO, _NEW_SPD_INFO = 0x25, 0x24  # linux/xfrm.h
_SPD_INFO = 1
_NLM_F_REQUEST, _NLMSG_ERROR = 1, 2
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=IHHIII")
_ERROR = struct.Struct("=i")
_FLAGS_BYTES = 4
_ATTRIBUTE = struct.Struct("=HH")
_COUNTS = struct.Struct("=III")
"""Of struct xfrmu_spdinfo: policies for what comes in, for what goes out, for what is forwarded."""
_MOST_BYTES = 4096
_PATIENCE_S = 0.1


def policies() -> int:
    """How many policies there are for packets that go out or are forwarded; 0 where the kernel has no IPsec.

    Needs CAP_NET_ADMIN. Raises EdgeError when the kernel cannot be asked.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_XFRM) as kernel:
            kernel.settimeout(_PATIENCE_S)
            kernel.send(_QUESTION.pack(_QUESTION.size, _GET_SPD_INFO, _NLM_F_REQUEST, 1, 0, 0))
            return _number_in(kernel.recv(_MOST_BYTES))
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
            return 0
        raise EdgeError(f"cannot ask for IPsec policies: {error.strerror or error}") from error


def _number_in(answer: bytes) -> int:
    length, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        code = -_ERROR.unpack_from(answer, _HEADER.size)[0]
        raise OSError(code, f"error {code}")
    at, end = _HEADER.size + _FLAGS_BYTES, min(length, len(answer))
    while kind == _NEW_SPD_INFO and at + _ATTRIBUTE.size + _COUNTS.size <= end:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _SPD_INFO and size >= _ATTRIBUTE.size + _COUNTS.size:
            _, out, forwarded = _COUNTS.unpack_from(answer, at + _ATTRIBUTE.size)
            return int(out + forwarded)
        at += max(size + 3 & ~3, _ATTRIBUTE.size)
    raise OSError(errno.EBADMSG, "the kernel has answered something else")
