"""What stands on the report's page, in its order: the name of each section and the function that makes it."""

from collections.abc import Callable

from autoseg.reporting.about import time_section, versions_section
from autoseg.reporting.calibration import calibration_section
from autoseg.reporting.material import Material
from autoseg.reporting.model_card import model_card_section
from autoseg.reporting.quality import quality_section
from autoseg.reporting.sections import (
    dataset_section,
    fingerprint_section,
    plan_section,
    training_section,
)
from autoseg.reporting.selection import selection_section
from autoseg.reporting.suspects import suspects_section
from autoseg.reporting.validation import validation_section

CONTENTS: tuple[tuple[str, Callable[[Material], str]], ...] = (
    ("validation", validation_section),
    ("selection", selection_section),
    ("calibration", calibration_section),
    ("quality", quality_section),
    ("suspect labels", suspects_section),
    ("training", training_section),
    ("plan", plan_section),
    ("data", dataset_section),
    ("fingerprint", fingerprint_section),
    ("card", model_card_section),
    ("time", time_section),
    ("versions", versions_section),
)
"""A section that returns an empty string is left out; a new one is a line here and a module of its own."""
