"""Encoders: image to feature map."""
