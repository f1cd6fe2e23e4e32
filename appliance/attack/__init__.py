"""Whether the gateway is under attack: which floods there are by name, and when one begins and ends. Pure.

`kinds` has the list; `watch` is told the counters again and again. It may import nothing.
"""
