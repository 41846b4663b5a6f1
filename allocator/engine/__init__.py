"""What engines that drive other schedulers have in common: see `allocator.slurm` and `allocator.kubernetes`."""
