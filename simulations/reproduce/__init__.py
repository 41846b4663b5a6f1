"""Published numbers, computed again by this program: what is expected, what we get, and how far they may be apart."""
