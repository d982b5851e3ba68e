"""Runs CPython's own asyncio tests on another loop; scripts/conformance.py is the way in."""
