"""Other people's networks as feature trunks: found by name, looked at without weights, tapped."""
