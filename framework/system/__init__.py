"""Files, locks, processes and cores of this machine. Nothing here knows of models or data."""
