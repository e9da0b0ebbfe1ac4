"""Datasets: images with instance masks."""
