"""The laws that components obey, checked on a stranger's component: `slotlab check`.

A law is a small function of a `Subject`, which raises `Broken` or `Skip`. `kinds.LAWS` lists those of each
kind.
"""
