"""Training: how the two small models that ship with the project were made.

`scenes` draws pictures and trains on them. `starter` learns photos from a larger model. A Space does not
receive this folder. Only benchmarks and tests import it.
"""
