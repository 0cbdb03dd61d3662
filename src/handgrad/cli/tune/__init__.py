"""`handgrad tune`: options searched by Ray Tune."""
