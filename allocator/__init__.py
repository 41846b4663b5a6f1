"""A data-center scheduler that states what it wants, solves it, and can prove and explain the answer."""

__version__ = "0.1.0"
