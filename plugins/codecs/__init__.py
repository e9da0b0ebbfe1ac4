"""Codecs: pictures to latents or tokens, and back."""
