"""Import this first in a script: it then finds the packages of its checkout, which are not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
