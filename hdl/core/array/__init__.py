"""The systolic array, its line buffers for depthwise passes, and the weight memory and pixel reader that feed it."""
