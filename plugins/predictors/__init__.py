"""Predictors: from the slots of one frame to those that the next one starts from."""
