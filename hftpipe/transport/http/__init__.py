"""Requests and their answers over HTTP."""
