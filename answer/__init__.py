"""Answer: what was found in a photo, as words, as JSON and as files.

Its functions are pure, except that `files` writes files. `serving`, `ui`, `tools` and `training` import it.
"""
