"""Snapshot to Problem, and the certificate that judges any answer to it. Nothing here solves."""

from allocator.formulation.build import Formulation, build
from allocator.formulation.certificate import Certificate, certify, dual_bound, objective, repair
from allocator.formulation.limits import Limit, LimitPart
from allocator.formulation.problem import Problem
from allocator.formulation.value import rounding_loss

__all__ = [
    "Certificate",
    "Formulation",
    "Limit",
    "LimitPart",
    "Problem",
    "build",
    "certify",
    "dual_bound",
    "objective",
    "repair",
    "rounding_loss",
]
