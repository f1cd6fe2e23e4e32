"""The health of real servers: what is checked, what an answer says, when a real server counts as up or down. Pure.

Time comes in as `now`, chance as a number from 0 to 1; the packets of checks are sent by `probes`. It may import nothing.
"""
