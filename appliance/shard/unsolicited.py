"""Packets that belong to no session and open none: dropped while the defence says so, else left to the host.

The kernel's rules apply the same policy (`policy.defence`) to what they can know. A shard applies it to what only a shard
knows: a packet to a service that has no session and opens none.
"""

from appliance.model.verdict import Verdict
from appliance.model.verdicts import BAD_DATA_OFFSET, BAD_FLAGS, FRAGMENT, NOT_OURS
from appliance.policy.defence import FRAGMENTS, Guarded, Rule, rule_for
from appliance.sessions.lifecycle import Sessions
from appliance.wire.flow import destination_of, split_endpoint
from appliance.wire.layout import DESTINATION, LEAST_OFFSET_FLAGS, PROTO_TCP, PROTOCOL
from appliance.wire.segment import Segment

_NO_HOST = frozenset((0, 127, *range(224, 256)))
"""First bytes of addresses that no host has: this network, loopback, multicast, reserved and broadcast."""


class Unsolicited:
    """Judges the unsolicited packets of one shard, and counts those that the defence drops."""

    def __init__(self, sessions: Sessions, ext_counts: memoryview) -> None:
        self._sessions = sessions
        self._ext_counts = ext_counts
        self._guarded: dict[bytes, Guarded] = {}
        self.look_at_services()

    def look_at_services(self) -> None:
        """Other services are there from now on."""
        changes = self._sessions.changes
        self._guarded = {split_endpoint(service.endpoint)[0]: Guarded.VIP for service in changes.services()}
        self._guarded |= dict.fromkeys(changes.local_addresses, Guarded.LOCAL_ADDRESS)

    def is_nobodys(self, address: bytes) -> bool:
        """Whether no client has this address: a VIP, a local address, or one that no host has (0/8, 127/8, 224/3; RFC 6890)."""
        return address in self._guarded or address[0] in _NO_HOST

    def judge(self, protocol: int, destination: bytes, refusal: Verdict) -> Verdict:
        """`refusal` for a whole packet to this endpoint while the defence drops such; else it is left to the host."""
        address, _ = split_endpoint(destination)
        return refusal if self._drop_and_count(rule_for(protocol, is_fragment=False), address) else NOT_OURS

    def judge_senseless(self, segment: Segment) -> Verdict:
        """A segment whose header does not fit into it, or with flags that no host sends together: dropped in any case.

        One of the latter that belongs to no session is counted by the defence, too.
        """
        if segment.payload_bytes < 0 or segment.offset_flags < LEAST_OFFSET_FLAGS:
            return BAD_DATA_OFFSET
        session, _ = self._sessions.tcp.find(segment.key)
        if session is None:
            self.judge(PROTO_TCP, destination_of(segment.key), BAD_FLAGS)
        return BAD_FLAGS

    def judge_fragment(self, raw: bytes) -> Verdict:
        """A part of a packet cannot be translated, so it is dropped whether or not the defence drops it, too."""
        rule = rule_for(raw[PROTOCOL], is_fragment=True)
        self._drop_and_count(rule, raw[DESTINATION])
        return NOT_OURS if rule is not FRAGMENTS else FRAGMENT

    def _drop_and_count(self, rule: Rule | None, address: bytes) -> bool:
        """Whether the defence drops a packet that falls under `rule` and goes to this address; counted when it does."""
        if rule is None or not self._sessions.tunables.defence.has(rule) or self._guarded.get(address) not in rule.guarded:
            return False
        self._ext_counts[rule.place] += 1
        return True
