"""What the director and the workers tell each other: messages, queries, the plan of a run, the layout of shared memory.

Whatever leaves a process is plain, versioned data, laid out here and pinned by tests. It may import `wire` and `model`.
"""
