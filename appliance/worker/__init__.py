"""Parts of the worker process beside its loop in `queue_worker`: the channel to the director.

It may import `model`, `ipc`, `sessions`, `shard` and `edge`.
"""
