"""What `flythinker doctor` finds, tries and measures, and what it advises.

Nothing here imports torch or transformers at the top: a machine where they do not work is one that
needs a doctor.
"""
