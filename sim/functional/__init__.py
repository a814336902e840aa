"""The results of a program, computed on BLAS without its cycles."""
