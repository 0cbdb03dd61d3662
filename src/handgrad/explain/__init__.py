"""Gradients explained: derivations, traces, diagnoses and pictures."""
