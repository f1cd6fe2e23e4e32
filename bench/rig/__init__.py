"""What the programs share: topology, servers, load, other gateways to compare with, checks, results."""
