"""A local page on which slots of two images are put together by hand."""
