"""Django's settings for its tests on SQLite, with a runner that has the wire."""

from test_sqlite import *  # noqa: F403

TEST_RUNNER = "django_wire.Runner"
