"""What Prometheus is told: the families of metrics as data, and the page that shows them.

A family reads its numbers from a `Reading`, which the caller has filled; the names, types and labels follow Prometheus' rules. It
may import `model`, `ipc` and `views`.
"""
