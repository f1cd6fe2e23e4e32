"""Bulk traffic through a proxied service, beside a plain one."""
