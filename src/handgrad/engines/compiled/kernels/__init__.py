"""What is compiled: every function that Numba turns into machine code, and how it is kept on the disk."""
