"""The policy file: what an operator wants, in TOML: read with every mistake at its place, written, and compared."""

from allocator.policyfile.compare import differences
from allocator.policyfile.read import Reading, Remark, read
from allocator.policyfile.surroundings import remarks_against
from allocator.policyfile.write import written

__all__ = ["Reading", "Remark", "differences", "read", "remarks_against", "written"]
