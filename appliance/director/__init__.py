"""The parent process: it prepares the host, keeps workers running, reads what the kernel counts, and changes what is in force.

It never sees a packet. It may import `model`, `policy`, `ipc`, `config`, `doctor` and `edge`: neither the packet path nor the
API, which `__main__` gives to it.
"""
