"""What has come to a shard and belongs to no session: the shard's reading of `defence`."""

from collections.abc import Iterable
from ipaddress import IPv4Address

from appliance.ipc.plan import ServicePlan
from appliance.model.verdicts import BAD_DATA_OFFSET, BAD_FLAGS, FRAGMENT, NOT_OURS, Verdict
from appliance.policy.defence import FRAGMENTS, Guarded, Rule, rule_for
from appliance.sessions.lifecycle import Sessions
from appliance.wire.flow import destination_of
from appliance.wire.layout import DESTINATION, DESTINATION_END, LEAST_OFFSET_FLAGS, PROTO_TCP, PROTOCOL


class Unsolicited:
    """Of one shard."""

    def __init__(self, services: Iterable[ServicePlan], sessions: Sessions, ext_counts: memoryview) -> None:
        self._sessions = sessions
        self._ext_counts = ext_counts
        self._guarded: dict[bytes, Guarded] = {}
        for service in services:
            self._guarded[IPv4Address(service.vip).packed] = Guarded.VIP
            self._guarded |= {IPv4Address(local).packed: Guarded.LOCAL_ADDRESS for local in service.local_addresses}

    def is_ours(self, address: bytes) -> bool:
        """Whether this is a VIP or a local address, from which no client speaks."""
        return address in self._guarded

    def judge(self, protocol: int, destination: bytes, refusal: Verdict) -> Verdict:
        """`refusal` for a whole packet to this endpoint while the defence drops such; else it is left to the host."""
        return refusal if self._is_dropped(rule_for(protocol, is_fragment=False), destination[:4]) else NOT_OURS

    def judge_senseless(self, addresses: bytes, payload_bytes: int, offset_flags: int) -> Verdict:
        """A segment with a header that does not fit into it, or with flags that no host sends together: dropped in any case.

        One of the latter that belongs to no session is a stranger besides, and counts as one.
        """
        if payload_bytes < 0 or offset_flags < LEAST_OFFSET_FLAGS:
            return BAD_DATA_OFFSET
        if self._sessions.tcp.find(addresses)[0] is None:
            self.judge(PROTO_TCP, destination_of(addresses), BAD_FLAGS)
        return BAD_FLAGS

    def judge_fragment(self, raw: bytes) -> Verdict:
        """A part of a packet can never be translated, so it is dropped whether or not the defence drops it, too."""
        rule = rule_for(raw[PROTOCOL], is_fragment=True)
        self._is_dropped(rule, raw[DESTINATION:DESTINATION_END])
        return NOT_OURS if rule is not FRAGMENTS else FRAGMENT

    def _is_dropped(self, rule: Rule | None, address: bytes) -> bool:
        """And counted."""
        if rule is None or not self._sessions.tunables.defence.has(rule) or self._guarded.get(address) not in rule.guarded:
            return False
        self._ext_counts[rule.place] += 1
        return True
