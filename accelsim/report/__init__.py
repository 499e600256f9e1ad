"""What a user sees: result files, tables, figures, traces."""
