"""The compiled engine: a model is lowered to a program, and one Numba loop runs whole epochs of it on the CPU."""
