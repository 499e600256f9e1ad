"""What crosses the ports of the memory levels; when it does is stepped in `accelsim.engines.walk`."""
