"""What a shard hands back beside its verdicts. All parts of a shard that can answer a packet share one."""


class ShardOutput:
    """Where the packets are that go out."""

    def __init__(self) -> None:
        self.rewritten = b""
        """The new bytes of the packet in hand, behind a verdict that says so."""
        self.segments: list[bytes] = []
        """Packets of our own that wait to be sent; the caller takes and clears them."""
