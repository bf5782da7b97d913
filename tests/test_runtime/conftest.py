"""The made-up projects of the tools' tests, which these tests use too."""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / 'test_tools'))
