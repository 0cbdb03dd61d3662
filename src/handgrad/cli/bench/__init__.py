"""`handgrad bench` and what the suite in benchmarks/ shares with it: configurations, workers, rivals, limit, tables.

Every rival runs in a process of its own (`worker`), which answers lines of JSON (`process`), pinned and with as many
threads as the others. All train the same network from the same first weights on the same rows, which is checked.
"""
