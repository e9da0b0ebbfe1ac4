"""Runs that travel: sent to an address and fetched from one, by content, without what is private."""
