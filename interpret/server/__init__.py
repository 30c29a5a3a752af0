"""The page: a server on this machine that asks one model, and the files that a browser gets from it."""
