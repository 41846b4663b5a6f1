"""The only translation between protobuf messages and domain values; rpc and client both use it.

Pure functions, `<noun>_to_proto` and `<noun>_from_proto`, one module per noun. What comes from a message is checked:
whatever the domain cannot hold, or holds to be wrong by itself, is an InvalidInput whose field paths start at the
request, such as ``jobs[3].configurations[0].replicas``.
"""
