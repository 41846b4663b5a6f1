"""Slurm as the engine: its nodes are ours to plan, and what we decide runs as its jobs."""
