"""Derivations shown: as text, as Markdown, as LaTeX."""
