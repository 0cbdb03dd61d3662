"""The command `handgrad`: train on a table, predict with what was learnt."""
