"""Signing what is sent to a venue."""
