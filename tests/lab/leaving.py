"""How a connection is left, by the state that the session has then. States are those of the real server: when the client has
closed, the session is in CLOSE_WAIT."""

from tests.lab.segment_client import WINDOW_BYTES, SegmentConnection


def leave_in_close(connection: SegmentConnection) -> None:
    """The client resets."""
    connection.ask("/")
    connection.wait_until(lambda so_far: so_far.received.endswith(b"}"))
    connection.send("RA")


def leave_in_established(connection: SegmentConnection) -> None:
    """The client forgets the connection, as after a power failure."""
    connection.ask("/")
    connection.wait_until(lambda so_far: so_far.received.endswith(b"}"))
    connection.send("A")


def leave_in_fin_wait(connection: SegmentConnection) -> None:
    """The server closes, the client does not."""
    connection.ask("/?close=1")
    connection.wait_until(lambda so_far: so_far.is_finished)
    connection.send("A")


def leave_in_time_wait(connection: SegmentConnection) -> None:
    """The server closes, then the client."""
    connection.ask("/?close=1")
    connection.wait_until(lambda so_far: so_far.is_finished)
    connection.send("FA")
    connection.wait_until(lambda so_far: so_far.is_acknowledged)


def leave_in_close_wait(connection: SegmentConnection) -> None:
    """The client closes while the server has more to send, which the client does not acknowledge."""
    connection.ask("/bytes/100000")
    connection.wait_until(lambda so_far: len(so_far.received) > WINDOW_BYTES / 2)
    connection.window_bytes = 0
    connection.send("FA")


def leave_in_last_ack(connection: SegmentConnection) -> None:
    """The client closes, then the server, whose FIN is not acknowledged."""
    connection.ask("/")
    connection.wait_until(lambda so_far: so_far.received.endswith(b"}"))
    connection.send("FA")
    connection.wait_until(lambda so_far: so_far.is_finished)
