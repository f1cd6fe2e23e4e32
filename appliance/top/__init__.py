"""What `appliance top` shows: rates from two answers of the API, rows, their order, and their text. Pure.

It knows neither the terminal nor the connection; `cli/top` has those. It may import `model`.
"""
