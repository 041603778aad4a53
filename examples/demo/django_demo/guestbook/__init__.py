"""A guest book of one model and one page."""
