"""The container runtime as the node sees it: a CRI client, a containerd child of our own, and images made locally."""
