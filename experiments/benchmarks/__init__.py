"""What `python -m experiments.benchmark` measures, one file a suite."""
