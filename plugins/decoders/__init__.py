"""Decoders: slots to a prediction of the target."""
