"""Health checks on the wire: what is sent to a real server, and what its answer means.

Each probe is one coroutine, which ends with an `Answer` and takes what it opened down with it, also when it is cancelled. A real
server may answer whatever it likes: what is read of it is bounded. It may import `health` and `policy`.
"""
