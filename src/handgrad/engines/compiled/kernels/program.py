"""A program: what one training step, or a forward pass, does, as arrays of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# What an instruction does, and what its fields hold. Matrices of samples are given by their place in the workspace, in
# bytes; parameters by their place in the flat vector and sums by theirs in the vector of sums, in numbers, -1 for none.
(
    GATHER,  # C: the batch's inputs, N wide
    LINEAR,  # C = f(A weight + bias), A being K wide and C N wide; MODE: f, D: f's local gradient
    PARTIAL_SUMS,  # each thread's matrix in C, N wide, = A weight over columns of A, K wide, of its own; the first
    # thread's + bias
    JOIN_SUMS,  # C = f(the sum of all threads' matrices in A); MODE: f, D: f's local gradient
    ACTIVATE,  # C = f(A); MODE: f, D: its local gradient
    GATED,  # C = B f(D), B = A weight + bias, D = A weight' + bias', GATE_WEIGHT, GATE_BIAS; then B, D as GATE's A, B
    GATE,  # C = A f(B), and A, B become what `part_gate` needs; MODE: f
    PLUS,  # C = A + B
    DROP,  # C = A D, D: 0 or the scale, from the numbers DRAW of each step on
    NORMALIZE,  # C = layer norm of A; D: the normal, B: 1 / root of each row; WEIGHT, BIAS: its scale and shift
    SOFTMAX,  # C = softmax of A
    LOSS,  # C = the gradient by the scores A; MODE: which loss; B: room for a number a row; SUMS: of C's columns
    INPUT_GRADIENT,  # C = A W^T, A being N wide and C K wide; WEIGHT: of W^T, or of W itself where BY_UNIT, as the
    # matrix unit turns it; MODE, D: what a tile does; SUMS; ADD to C
    GATED_GRADIENT,  # INPUT_GRADIENT, then PART_GATE with C in place of A; B, D: content and gate
    WEIGHT_GRADIENT,  # gradient of the weight = A^T B, A being K and B N wide; ADD to it; PIECE: the optimizer's, where
    # it is whole after this, else -1; CLAIM: its counters, -1 where more than one instruction writes it
    PASS_ON,  # C = A, or C + A with ADD
    LOCAL_GRADIENT,  # C times D (MODE LOCAL), or where D is above 0 (MODE MASK), or as it is; SUMS: of its columns
    PART_GATE,  # with the upstream gradient A: B and D, the content and the gate, become their gradients; their sums:
    # of D, the content's, to BIAS, of B to SUMS
    NORMALIZE_BACK,  # C = the gradient by the input, from A; B, D, WEIGHT as above; SUMS, BIAS: of scale and shift
    SOFTMAX_BACK,  # C = the gradient by the input, from A; B: the probabilities
) = range(20)

# What a run is given, `base`, in this order. Addresses: SPEEDS and SQUARES are the optimizer's first and second
# moments, BLOCKS holds the sum of squares of each block's gradient, CLAIMS how many blocks of each thread's share are
# taken, ROOM is what each thread has of its own for the matrix unit, SYNC is for the barrier. Then how many pieces
# there are, and which optimizer it is; where other processes do the rest of a batch, how many rows of it they have, and
# how many of those come before this one's: for the numbers that dropout draws.
WORK, PARAMS, GRADIENT, TRANSPOSED, SUMS_AT, ZEROS, INPUTS, TARGETS, WEIGHTS, KEY = range(10)
PIECES, CONSTANTS, SPEEDS, SQUARES, BLOCKS, CLAIMS, ROOM, SYNC = range(10, 18)
PIECES_COUNT, OPTIMIZER, ELSEWHERE, BEFORE = range(18, 22)

# COLUMNWISE: each of several threads takes columns of the result, over all rows, not rows of it; of PARTIAL_SUMS, of A.
# WAIT: until all threads have come as far, as the instruction or the one before it is columnwise; PARTIAL_SUMS, of what
# the thread gathered itself, if anything was, need not.
# IN_PLACE: the fewest rows of a batch that may be read in the data, 0 where all are gathered (see `row_products`). Of
# GATHER, whose K is then how wide the inputs' products are, and of all that takes the inputs.
OP, A, B, C, D, N, K, WEIGHT, BIAS, SUMS, MODE, ADD, DRAW, GATE_WEIGHT, GATE_BIAS, PIECE, CLAIM = range(17)
BY_UNIT, COLUMNWISE, WAIT, IN_PLACE = range(17, 21)
FIELDS = 21
PIECE_AT, PIECE_K, PIECE_N, TURNED, DECAYS, AT_ONCE, FIRST_BLOCK = range(7)  # the columns of `pieces`
PIECE_COLUMNS = 7
NUMBERS = 2  # an instruction's hyperparameters


@dataclass
class Program:
    """Instructions, and what they need.

    code, numbers: (instructions, FIELDS) and (instructions, NUMBERS). split: how many instructions come before the
    weights' gradients, which need the rows of all threads.
    pieces: what the optimizer goes over, (place, k, n, place of the transpose or -1, decays, whether the instruction of
    its gradient may take its step, and the number of its first block then), a vector having k = 1.
    stepped: how many blocks may take their step with their gradient. claims: instructions whose blocks any thread may
    take.
    reduced: (place among the sums, place among the parameters, count) of gradients that are sums over samples.
    """

    code: np.ndarray
    numbers: np.ndarray
    split: int
    batch: int
    n_in: int
    n_out: int
    scores: int  # where the model's output is
    workspace: int  # bytes
    room: int  # bytes that each thread needs besides: see `matrix_unit`, `weights`
    buffers: dict[int, tuple[int, int]]  # (place, bytes) of each matrix
    transposed: int = 0  # numbers of all transposed weights
    widest: int = 1
    draws: int = 0  # random numbers a sample
    sums: int = 0
    stepped: int = 0
    claims: int = 0
    pieces: np.ndarray = field(default_factory=lambda: np.zeros((0, PIECE_COLUMNS), np.int64))
    reduced: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
