"""Groupings: tokens and initial slots to slots."""
