"""Comparing runs: reading their folders, grouping them into arms, statistics, tables, figures."""
