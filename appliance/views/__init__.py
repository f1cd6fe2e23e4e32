"""What the API shows, each view as one `Document` with the same facts as text and as JSON.

A view receives its numbers as arguments and only formats them. It may import `wire`, `model`, `policy`, `ipc` and `doctor`.
"""
