"""The folders of runs: made, written while training, listed, compared and read again."""
