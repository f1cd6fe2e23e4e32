"""What becomes of traffic when something breaks, and what becomes of the appliance when traffic goes on for long.

- `python -m faults`: one fault after another under load, and for each what clients saw, beside what is promised (`make faults`).
- `faults.soak`: mixed traffic for a while, and then a look at everything that could have piled up (`make soak`).

It is a package of its own, because it is neither a test of one behaviour (`tests/lab` has those: a test says yes or no, this says
how many and how long), nor a comparison of speed (`bench`). It has a verdict all the same, so that CI can run it.

- `pattern`, `records`, `figures`, `promises`, `report`, `manual`: what was sent, seen, measured and promised. Pure.
- `load`: the clients. `stream_server`: the real servers. Both check every byte.
- `rows`: the faults, one file for each kind of thing that breaks.
- `unit`: stands in for systemd, and does what `deploy/appliance.service` says. `gateway`: the appliance that runs in it.
"""
