"""Fuzzing: `python -m tests.fuzz --runs N` for all targets, and a short form of it among the tests.

A target makes whole inputs, and takes bytes: it returns the outcome's name, and raises for what must not be.
"""
