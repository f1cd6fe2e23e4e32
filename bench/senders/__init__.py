"""Senders of floods, bounded in rate and time, towards test addresses only."""
