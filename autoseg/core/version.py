"""The version of this program, as records and models note it."""

VERSION = "0.1.0"
