"""accelsim: a cycle-level simulator of neural-network accelerators."""
