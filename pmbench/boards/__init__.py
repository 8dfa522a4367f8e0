"""Runs -> boards: a table for each dataset, with metrics, people and published scores."""
