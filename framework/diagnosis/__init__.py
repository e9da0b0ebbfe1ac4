"""How a run's slots fail, or that they bind: `measures` of its masks, then `findings` in words.

A page of the docs explains each finding, and has what was measured to help.
"""
