"""The lab: a client, a gateway and two real servers as network namespaces on one machine, and one command to run in them.

`command` is the command line; `lab` puts a lab up and takes it down; `plan` says what belongs where and `network` makes the
kernel agree. `http_server` with `toa_reader`, and `udp_server`, are what a real server runs. It may import `config`.
"""
