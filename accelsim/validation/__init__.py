"""Published tables against the simulator."""
