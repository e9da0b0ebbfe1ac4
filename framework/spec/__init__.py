"""Experiment specs: YAML files, one parent, located errors, typed settings, identity."""
