"""Position codes: added to a feature map."""
