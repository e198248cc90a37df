"""Trainers (one module per model family), evaluation, artifacts and the registry of trained versions."""
