"""The lab: a client, a gateway and two real servers as network namespaces on one machine, and a command that runs as the client.

`command` is the command line; `lab` creates a lab and removes it; `plan` decides on addresses, routes and listeners, and
`network` configures the kernel so. A real server runs `http_server`, with `toa_reader`, and `udp_server`. It may import
`config`.
"""
