"""Models as files for other programs: from images to slots, and from slots to pictures."""
