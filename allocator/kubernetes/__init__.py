"""A Kubernetes cluster as an engine: its nodes and what others use of them observed, jobs run as suspended Jobs."""
