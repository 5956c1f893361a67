"""Volumes of pods, one file per type. `catalog` lists them; `keeper` mounts and refreshes them for a pod."""
