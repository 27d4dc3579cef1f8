"""Models and their texts on one data file, against a baseline."""
