"""Django's command line for the demo; DEMO_DIR says where its database and static files are."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_demo.settings")
    execute_from_command_line(sys.argv)
