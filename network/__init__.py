"""Network: everything that computes on tensors.

It builds the networks, finds and checks their weights, and makes them faster without changing their results.
It imports no other room. `inference` puts networks and weights together.
"""
