"""Offsets, flag bits and protocol numbers. No other file has a number for a place in a header; `wire.flow` has those in a flow.

IPv4 is RFC 791, TCP is RFC 9293, UDP is RFC 768, ICMP is RFC 792. Offsets count from the start of the IP header and hold for
the only header the packet path rewrites: version 4, twenty bytes, no options.
"""

from struct import Struct

from appliance.wire.flow import KEY_BYTES, KEY_FORMAT

IPV4_NO_OPTIONS = 0x45
"""First byte of an IPv4 header of twenty bytes."""

IP_HEADER_BYTES = 20
TCP_HEADER_BYTES = 20
UDP_HEADER_BYTES = 8
ICMP_HEADER_BYTES = 8

PROTO_ICMP = 1
PROTO_TCP = 6
PROTO_UDP = 17
PROTO_OSPF = 89

DONT_FRAGMENT = 0x4000
FRAGMENT_BITS = 0x3FFF
"""More-fragments flag and fragment offset: any of them set means this is not a whole packet."""
FRAGMENT_OFFSET_BITS = 0x1FFF
"""Any of them set means that there is no transport header behind the IP header."""

TTL_OF_OUR_SEGMENTS = 64

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10
URG = 0x20
OPENING_FLAGS = SYN | ACK | FIN | RST
"""The flags that tell a SYN from all other segments."""

FLAG_BITS = 0x3F
"""The six flags of RFC 9293 that the state machine looks at; ECN bits pass through untouched."""

DATA_OFFSET_SHIFT = 12
"""From the 16 bits of data offset and flags to the offset in words."""

ALL_FLAGS = (1 << DATA_OFFSET_SHIFT) - 1
"""Everything beside the data offset: those six, the ECN bits and the reserved ones."""

MOST_WINDOW = 0xFFFF
"""What the window field can hold."""

LEAST_OFFSET_FLAGS = 5 << DATA_OFFSET_SHIFT
"""Data offset and flags of the shortest TCP header; a smaller number is a header of less than twenty bytes."""

TIME_TO_LIVE = 8
PROTOCOL = 9
"""The bytes with the TTL and with the protocol number."""

TOTAL_LENGTH = slice(2, 4)
FRAGMENT_FIELD = slice(6, 8)
IP_CHECKSUM = slice(10, 12)
SOURCE = slice(12, 16)
DESTINATION = slice(16, 20)
"""Fields of an IPv4 header."""

BEFORE_TOTAL_LENGTH = slice(0, 2)
TOTAL_LENGTH_TO_CHECKSUM = slice(4, 10)
IP_ADDRESSES = slice(12, 20)
"""The parts of an IPv4 header that are copied when a packet gets another size."""

UDP_LENGTH = slice(IP_HEADER_BYTES + 4, IP_HEADER_BYTES + 6)
ICMP_CHECKSUM = slice(2, 4)
"""The checksum, counted from the start of the ICMP message."""

HEADERS = Struct(f"!BxHxxHxBH{KEY_FORMAT}IIHHH")
"""version+IHL, total length, fragment bits, protocol, header checksum, the key of the flow, seq, ack, offset+flags, window,
TCP checksum. The key is one slice, and the key of the tables."""

REWRITTEN = Struct(f"!H{KEY_FORMAT}IIHHH")
"""The part of a packet that a translation writes anew: header checksum up to TCP checksum."""

REWRITTEN_START = 10
REWRITTEN_END = REWRITTEN_START + REWRITTEN.size

DATA_OFFSET = IP_HEADER_BYTES + 12
"""The byte with the data offset, in its upper four bits."""

OPTIONS_START = IP_HEADER_BYTES + TCP_HEADER_BYTES
"""Where the options of a TCP packet begin; they end where the data offset says."""

UDP_HEADERS = Struct(f"!10xH{KEY_BYTES}xHH")
"""Header checksum, UDP length, UDP checksum."""

UDP_REWRITTEN = Struct(f"!H{KEY_FORMAT}HH")
"""The part of a datagram that a translation writes anew: header checksum up to UDP checksum, the UDP length among them."""

UDP_REWRITTEN_END = REWRITTEN_START + UDP_REWRITTEN.size

UDP_CHECKSUM_OF_ZERO = 0xFFFF
"""How a UDP checksum that comes out as 0 is written, because 0 says that the sender computed none."""

BOTH_HEADERS = Struct(f"!HHHHHH{KEY_FORMAT}IIHHHH")
"""An IPv4 header without options and a TCP header, in words: version+IHL+TOS, total length, identification, fragment bits,
TTL+protocol, header checksum, the key of the flow, seq, ack, offset+flags, window, TCP checksum, urgent pointer."""

IP_HEADER = Struct("!BBHHHBBH4s4s")
TCP_HEADER = Struct("!HHIIHHHH")
ICMP_HEADER = Struct("!BBHBBH")
"""Type, code, checksum, and what an error has besides: pointer, length of the quote in 32-bit words or 0 (RFC 4884), MTU of the
next hop (RFC 1191). Each kind of error uses some of them."""

ADDRESSES_START = 12
ADDRESSES_END = ADDRESSES_START + KEY_BYTES
"""Where the key of the flow lies in a packet with TCP or UDP."""

ICMP_UNREACHABLE = 3
ICMP_SOURCE_QUENCH = 4
ICMP_TIME_EXCEEDED = 11
ICMP_PARAMETER_PROBLEM = 12
ICMP_CODE_PORT = 3
ICMP_CODE_FRAGMENTATION_NEEDED = 4
ICMP_ERRORS = (ICMP_UNREACHABLE, ICMP_SOURCE_QUENCH, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM)
"""ICMP messages that quote the packet they complain about."""

QUOTED_START = IP_HEADER_BYTES + ICMP_HEADER_BYTES
QUOTED_MIN_BYTES = IP_HEADER_BYTES + 8
"""RFC 792: an error quotes the IP header and eight bytes more, which is where the ports and the sequence number are."""

LEAST_MTU_BYTES = 68
"""RFC 791, 3.2: every hop forwards packets of this size unfragmented."""
