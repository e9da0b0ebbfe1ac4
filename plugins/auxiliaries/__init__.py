"""Auxiliary losses: beside the objective's, from all that a forward pass in training computed."""
