"""Latent diffusion: a U-Net that attends to slots, the schedule of its noise, and solvers."""
