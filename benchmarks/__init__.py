"""Measurements against published results; README.md has the rules and the table."""
