"""Parts of ``scripts/fuzz.py``: seeds (valid inputs), mutators (what is done to them), cases (what reads them), watch."""
