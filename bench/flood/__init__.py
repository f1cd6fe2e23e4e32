"""Fresh connections while a VIP is flooded with SYNs, beside the kernel's own SYNPROXY with NAT."""
