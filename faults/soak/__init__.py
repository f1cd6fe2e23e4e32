"""Traffic of all kinds for as long as is wanted, and then a verdict on what could have piled up.

- `traffic`: the clients, as a program. `samples`: what is looked at while it runs. `verdict`: what follows from it. Pure.
"""
