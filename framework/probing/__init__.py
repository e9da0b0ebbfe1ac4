"""What slots know of objects: heads fitted on frozen slots, and floors that they must beat."""
