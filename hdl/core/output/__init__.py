"""The output stage: accumulators in, requantised words out."""
