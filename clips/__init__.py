"""Clips: what was found in a video, frame by frame, as data, as tables and as files.

The network runs while a clip is looked at (`look`), and never again. Everything else is a function of the
result.
"""
