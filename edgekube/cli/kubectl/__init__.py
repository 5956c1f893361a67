"""kubectl-compatible verbs: one file each, over one session."""
