"""Counters and sessions as people and programs read them: one document each, as text and as JSON.

Nothing is asked or decided here: numbers come in, text goes out. It may import `model`, `policy` and `ipc`.
"""
