"""Photo: the way from a stranger's bytes to upright RGB arrays.

It imports no other room. Everybody who reads a picture may import it.
"""
