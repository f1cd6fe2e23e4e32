"""The configuration file: its tables and keys, the checks of single values and of values together, what a reload may change.

It makes a frozen `Config` of a text, or finds every problem with its line. It may import `model` and `policy`.
"""
