"""Tables and small values that all other folders use: TCP states, tunables, counters, verdicts, rates.

Each table of names, ranges or meanings is in one file here, and reference pages are generated from it. It may import `wire`.
"""
