"""Photo: the way from a stranger's bytes to an upright RGB array.

It imports no other room. Everybody who reads a picture may import it.
"""
