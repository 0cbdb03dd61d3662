"""A table, from what the user names to arrays: sources, columns, encoders, parts; in memory or streamed."""
