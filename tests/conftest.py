"""What all tests share: property tests draw the same examples every run and have no deadline of their own."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True, database=None)
settings.load_profile("steady")
