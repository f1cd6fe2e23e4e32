"""Configurations of thousands of services."""
