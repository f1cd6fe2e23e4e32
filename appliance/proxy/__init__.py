"""L3, SYNPROXY: prove the client before a real server hears of it. Its place; nothing of it is built yet."""
