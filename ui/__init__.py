"""UI: the page, the API and the tools for agents.

Everything that builds Gradio components or endpoints is here. Only `app` and tests import it.
"""
