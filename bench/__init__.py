"""What the appliance costs, beside three other ways through the same gateway. `python -m bench` as root measures it all.

- `established_path`: the Python of one packet, without a kernel.
- the suite: new connections/s, keep-alive requests/s and Gbit/s in a lab of network namespaces, for plain routing, nft
  DNAT+SNAT, a bare packet-queue loop and the appliance; interleaved, with each way checked before it is measured.
"""
