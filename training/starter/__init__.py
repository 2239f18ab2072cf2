"""Starter: trains the `starter` model on photos, from a larger model's answers."""
