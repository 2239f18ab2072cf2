"""Tools: scripts for owners and developers.

They import the app. Only `training`, benchmarks and tests import them. A Space does not receive them.
"""
