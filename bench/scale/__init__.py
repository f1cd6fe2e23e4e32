"""What thousands of services cost, and the text of a configuration with so many."""
