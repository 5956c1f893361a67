"""Kubernetes for edge devices in one Python process."""

VERSION = "0.1.0"  # as in pyproject.toml, which is not there where only the package is
