"""A table of trained designs, and the evolution replayed on it: `train` fills it, `replay` compares strategies on it."""
