"""The output stage: accumulators in, requantised memory words out."""
