"""What is measured, a file each: the load, and which figures come out of it."""
