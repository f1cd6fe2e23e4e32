"""The commands of operators: questions to the API of a running appliance, and their answers as text.

It may import `model`, `policy` and `ipc`.
"""
