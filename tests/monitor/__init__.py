"""Tests of `aioxide.monitor`."""
