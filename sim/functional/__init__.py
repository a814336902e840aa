"""What a program computes, at the speed of BLAS, without its cycles."""
