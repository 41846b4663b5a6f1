"""The node agent: runs what the daemon wants on this machine, holds it to its limits, and says how it is doing."""
