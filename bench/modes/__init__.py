"""The modes of the gateway that are compared, a file each: what it runs, which addresses it has, what is true of its packets."""
