"""What one shard remembers: sessions and the table that finds them, services and real servers, the tunables in force.

Objects here hold values and keep their counts right; what is done with packets stands in the folders above. It may import
`wire`, `model`, `policy` and `ipc`.
"""
