"""Scalers, which multiply and round sums by each rounding contract."""
