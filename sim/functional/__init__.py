"""The results of a program, computed with BLAS, independent of its cycles."""
