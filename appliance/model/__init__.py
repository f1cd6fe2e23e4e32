"""The tables and small values that everything else is told in: TCP states, tunables, counters, verdicts, rates.

A table of names, ranges or meanings has its one place here, and reference pages are written from it. It may import `wire`.
"""
