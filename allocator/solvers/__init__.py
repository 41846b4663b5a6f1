"""Problem to Solution: one method per file, and the chain that chooses among them."""

from allocator.solvers.chain import ChainSolver, solve
from allocator.solvers.solution import Solution, Status, WarmStart

__all__ = ["ChainSolver", "Solution", "Status", "WarmStart", "solve"]
