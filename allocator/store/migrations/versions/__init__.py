"""The steps, oldest first; files are named for their number and what they do. Never change one that was released."""
