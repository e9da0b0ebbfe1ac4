"""What `import slotlab` offers and the command line calls: each job as a function, with progress on stderr.

Nothing here prints a result: functions return it, and `framework/cli` prints what the same functions return.
"""
