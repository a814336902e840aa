"""The systolic array, the line buffers of depthwise passes, and the weight memory that feeds both."""
