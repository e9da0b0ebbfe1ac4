"""Protocols: how pictures are split, cropped, resized and scaled."""
