"""What it runs on: frozen, validated descriptions of hardware, and their loader."""
