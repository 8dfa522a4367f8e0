"""How fast a metric is, how much memory it takes, and what it costs as a loss."""
