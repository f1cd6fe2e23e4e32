"""An inline layer-4 gateway: nftables steers VIP traffic into NFQUEUE, shards rewrite it."""

__version__ = "0.1.0"
