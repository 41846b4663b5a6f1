"""Answers to "do I get my share?", "why is my job pending?" and "what would help?", from the last round. Pure."""
