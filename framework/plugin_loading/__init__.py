"""Finding plugins, deciding whose code may run, and keeping copies of plugin files."""
