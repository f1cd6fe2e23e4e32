"""The front door of a service: what the kernel has to know to answer its SYNs with cookies. Pure: it packs values of maps."""

from typing import NamedTuple, Self

from appliance.ipc.lane_layout import FRONT_DOOR, FRONT_DOOR_FIELDS, NO_LATCH
from appliance.model.syn_offer import AnswerTerms


class FrontDoor(NamedTuple):
    """The fields of `lane_layout.FRONT_DOOR`, in their order."""

    mss: int
    most_mss: int
    held_packets: int
    ttl: int
    scale: bool
    sack: bool
    first_latch: int = NO_LATCH

    @classmethod
    def of(cls, terms: AnswerTerms, path_mss: int, first_latch: int = NO_LATCH) -> Self:
        """With these terms, for a service to whose real servers segments of `path_mss` bytes get whole; open to all clients, or
        with latches from this one on."""
        mss = min(path_mss, terms.most_mss or path_mss)
        # Nobody routes the answer: the hop that Python leaves to the kernel is taken off here.
        return cls(mss, terms.most_mss, terms.held_packets, terms.ttl - 1, terms.scale, terms.sack, first_latch)

    def pack(self) -> bytes:
        """The value of the map `front_doors`."""
        return FRONT_DOOR.pack(*self)


assert FrontDoor._fields == tuple(name for name, _ in FRONT_DOOR_FIELDS)
