"""What a shard gives back beside its verdicts."""


class ShardOutput:
    """Packets that go out. All parts of a shard that can answer a packet share one."""

    __slots__ = ("rewritten", "segments")

    def __init__(self) -> None:
        self.rewritten = b""
        """The new bytes of the packet that is judged, when the verdict says that it was rewritten."""
        self.segments: list[bytes] = []
        """Packets of our own that wait to be sent; whoever sends them clears the list."""
