"""New components from templates: working, commented, with a spec and a test, and as packages."""
