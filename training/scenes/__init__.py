"""Scenes: draws pictures of ten kinds of object, and trains the `scenes` model on them."""
