"""Models to train, evaluate and export: one shared training spine and one folder per task."""
