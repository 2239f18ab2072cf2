"""Serving: who may come in, whose turn it is, and which models are in memory.

It knows the queue and the sessions of Gradio, but none of its components. `ui`, `app` and `tools` import it.
"""
