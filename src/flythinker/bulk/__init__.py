"""Work over many examples on a Ray cluster, or on this machine's cores as one."""
