"""The configuration file: its tables, the checks of one value and of values together, and what a reload may change.

It reads text and gives a frozen `Config`, or every problem with its line. It may import `model` and `policy`.
"""
