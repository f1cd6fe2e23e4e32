"""The clients: `streams` that are held, `exchanges` that begin all the time, and the program around them."""
