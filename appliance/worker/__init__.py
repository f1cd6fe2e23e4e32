"""Parts of the worker process beside its loop in `queue_worker`: the channel to the director, and packets that wait.

It may import `wire`, `model`, `ipc`, `sessions`, `shard` and `edge`.
"""
