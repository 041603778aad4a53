"""Migrations of the guest book."""
