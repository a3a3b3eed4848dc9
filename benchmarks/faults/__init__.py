"""Faults injected and counted: kills, full disks, signals, hardships, damaged and odd data, long runs."""
