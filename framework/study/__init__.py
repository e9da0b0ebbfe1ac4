"""Ablations: a grid of specs is planned, run by a launcher, and watched from its run folders.

No module that a live view or a comparison needs (`folder`, `glance`, `index`) imports torch.
"""
