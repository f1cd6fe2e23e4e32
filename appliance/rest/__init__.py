"""The parts of the admin API: requests read and checked, responses and errors written, one file for each kind of resource.

`appliance/api.py` puts them together. It may import `model`, `policy`, `ipc` and `views`.
"""
