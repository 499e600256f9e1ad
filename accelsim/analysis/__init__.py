"""Numbers about results: roofline, utilization, comparison."""
