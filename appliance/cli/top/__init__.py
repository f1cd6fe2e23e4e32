"""The command `appliance top`: the terminal and the connection of what `appliance.top` knows."""
