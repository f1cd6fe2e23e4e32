"""The units under a real systemd, which runs as process 1 of namespaces of its own. Needs root."""
