"""The commands that ask a running appliance through its admin API and print the answers.

It may import `wire`, `model`, `policy`, `ipc` and `views`.
"""
