"""What the demonstration really runs on this machine: scripts of the standard library alone, small and harmless."""
