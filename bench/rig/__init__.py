"""What the programs share: topology, servers, load generators, CPU time, checks, tables."""
