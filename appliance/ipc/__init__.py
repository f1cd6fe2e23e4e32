"""What leaves a process: messages, queries, the plan of a run, rows for views, the layout of shared memory, the session record.

It is plain data. What other processes read has a version and is pinned by tests. It may import `wire` and `model`.
"""
