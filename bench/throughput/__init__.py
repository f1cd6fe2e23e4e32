"""New connections/s, keep-alive requests/s and Gbit/s, beside three other ways through the same gateway.

The ways are interleaved in one run, and each is checked before it is measured. `packet_cost` times the Python code for one packet
of an established session, without a kernel.
"""
