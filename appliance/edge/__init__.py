"""L5: everything that needs root or a kernel, and nothing else. Small, boring, and without opinions about packets."""
