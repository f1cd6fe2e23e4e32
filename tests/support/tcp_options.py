"""TCP options as bytes, as hosts send them (RFC 9293, 3.2; RFC 2018; RFC 7323)."""

MSS_1460 = bytes.fromhex("020405b4")
SACK_PERMITTED = bytes.fromhex("0402")
TIMESTAMP = bytes.fromhex("080a0000000100000000")
WSCALE_7 = bytes.fromhex("030307")

LINUX_SYN = MSS_1460 + SACK_PERMITTED + TIMESTAMP + b"\x01" + WSCALE_7
"""The options of a SYN that Linux sends: 20 bytes."""

TOA_KIND = 254
"""The kind of the client-address option when `fullnat_toa_kind` has its default."""


def sack(*edges: int) -> bytes:
    """A SACK option without padding; two edges, left and right, for each block."""
    return bytes((5, 2 + 4 * len(edges))) + b"".join(edge.to_bytes(4, "big") for edge in edges)
