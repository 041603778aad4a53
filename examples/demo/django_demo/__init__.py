"""The Django part of the demo: a guest book and the admin."""
