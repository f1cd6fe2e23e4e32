"""Print the dashboard."""

import sys

from tools.dashboard.dashboard import text

sys.stdout.write(text())
