"""The parts of the admin API: the routes as data, the handlers of each kind of resource, answers and refusals.

`appliance/api.py` puts them together. It may import `model`, `policy`, `ipc`, `doctor`, `views` and `metrics`.
"""
