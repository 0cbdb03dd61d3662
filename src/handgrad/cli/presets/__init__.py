"""What `handgrad train` can train, by --preset, and what it is measured against."""
