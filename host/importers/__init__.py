"""Models and inputs from files."""
