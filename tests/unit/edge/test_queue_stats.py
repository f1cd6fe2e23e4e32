"""edge/queue_stats.py: the kernel's table of packet queues."""

from appliance.edge.queue_stats import QueueStats, parse


def test_a_line_of_the_kernels_queue_table() -> None:
    assert parse("    3  16118     7 2  4016     5     9   211629  1") == (3, QueueStats(7, 5, 9))
