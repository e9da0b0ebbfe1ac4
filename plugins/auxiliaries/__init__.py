"""Auxiliary losses: terms beside the objective's."""
